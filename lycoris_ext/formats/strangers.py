"""Files that are something else than they are taken for, as one table: name, signs, what to do.

A download that failed leaves a web page, a clone without Git LFS leaves pointers, and many kinds of
files share the ending .safetensors. Every reader of files asks here before it calls a file damaged:
``refuse_start`` by the first bytes, ``kind_of`` by the names of the tensors and the metadata.
docs/formats.md lists the kinds.

Sources: the signatures of file formats, and the writers' code: AUTOMATIC1111 (hypernetworks,
embeddings), sd-scripts (LLLite), Stability's ModelSpec (architectures), HCP-Diffusion, x-flux.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lycoris_ext.errors import FormatError
from lycoris_ext.formats.families import FAMILIES
from lycoris_ext.words import file_size, short

#: Bytes from the beginning of a file by which it can be recognised.
LOOK = 512

_AGAIN = "get the file itself again"
_LOG_IN = "download the file itself; the site may want you to log in or to accept its terms first"
_UNPACK = "unpack it and name the file inside"


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Args:
        name: with its article, as the end of "this is ...".
        mend: what to do with such a file, as an imperative clause; may be empty.
        starts: the first bytes of such a file, any of these.
        at: where these bytes are, counted from the beginning of the file.
        signs: parts of tensors' names, any of these; ``^`` and ``$`` stand for the beginning and
            the end of a name, and of several parts with spaces between them all must occur.
        architectures: endings of ``modelspec.architecture`` in the metadata.
    """

    name: str
    mend: str = ""
    starts: tuple[bytes, ...] = ()
    at: int = 0
    signs: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()


ADAPTER = Kind(
    "an adapter (LoRA and its kin), not a model",
    "name the model it was trained on, and this file with --adapter",
    signs=(
        "^lora_unet_", "^lora_te", "^lycoris_", "^oft_unet_", ".lora_up.", ".lora_down.",
        ".lora_A.", ".lora_B.", ".lora.up.", ".lora.down.", "_lora.up.", "_lora.down.",
        ".lora_linear_layer.", ".hada_w1", ".lokr_w1", ".oft_blocks$", ".oft_R.", ".oft_diag$",
        ":up$", ":down$", ".alpha$", ".diff$", ".diff_b$", ".w_norm$", ".on_input$", ".a1.weight$",
    ),
)  # fmt: skip
MODEL = Kind(
    "a whole model (checkpoint)",
    signs=("^model.diffusion_model.", "^cond_stage_model.", "^conditioner.embedders."),
)

#: The first kind that fits counts.
KINDS = (
    # By the first bytes
    Kind("a PNG picture", _AGAIN, starts=(b"\x89PNG",)),
    Kind("a JPEG picture", _AGAIN, starts=(b"\xff\xd8\xff",)),
    Kind("a GIF picture", _AGAIN, starts=(b"GIF8",)),
    Kind("a WebP picture", _AGAIN, starts=(b"WEBP",), at=8),
    Kind("a video or AVIF picture", _AGAIN, starts=(b"ftyp",), at=4),
    Kind(
        "a GGUF file: a quantised model",
        "get the model as .safetensors",
        starts=(b"GGUF", b"GGML", b"ggjt"),
    ),
    Kind("a RAR archive", _UNPACK, starts=(b"Rar!",)),
    Kind("a 7z archive", _UNPACK, starts=(b"7z\xbc\xaf\x27\x1c",)),
    Kind("a gzip archive", _UNPACK, starts=(b"\x1f\x8b",)),
    Kind("a zstd archive", _UNPACK, starts=(b"\x28\xb5\x2f\xfd",)),
    Kind("an xz archive", _UNPACK, starts=(b"\xfd7zXZ",)),
    Kind("a tar archive", _UNPACK, starts=(b"ustar",), at=257),
    Kind("an HDF5 file (Keras)", "get the model as .safetensors", starts=(b"\x89HDF",)),
    Kind("a NumPy file", _AGAIN, starts=(b"\x93NUMPY",)),
    Kind("a PDF document", _AGAIN, starts=(b"%PDF",)),
    Kind("a Windows program", "delete it: it was not what you wanted", starts=(b"MZ",)),
    Kind(
        "a Windows shortcut",
        "name the file that it points to",
        starts=(b"L\0\0\0\x01\x14\x02\0",),
    ),
    Kind("a torrent, which only says where to load the file", _AGAIN, starts=(b"d8:announce",)),
    Kind(
        "what macOS keeps beside a file on foreign disks (._NAME)",
        "name the file without ._ in front",
        starts=(b"\0\5\x16\7", b"\0\5\x16\0"),
    ),
    # By the names of the tensors: no adapters, though some are called LoRA
    Kind(
        "a broken conversion: its names lack the dot before the tensor's name",
        "convert the original file again with another tool; no program reads this one",
        signs=(
            "_lora_down.weight$", "_lora_up.weight$", "_lora_A.weight$", "_lora_B.weight$",
            "_lora_down_weight$", "_lora_up_weight$", "_lora_A_weight$", "_lora_B_weight$",
        ),
    ),
    Kind(
        "a ControlNet-LoRA",
        "load it as a ControlNet in your program",
        signs=("^lora_controlnet$",),
        architectures=("/control-lora",),
    ),
    Kind(
        "a ControlNet-LLLite",
        "load it with the LLLite nodes of ComfyUI, or in sd-scripts",
        signs=("^lllite_",),
    ),
    Kind(
        "a Control LoRA for FLUX, which also changes biases and inputs",
        "load it in ComfyUI or diffusers",
        signs=(".lora_B.bias$ .key_norm.scale$", ".lora_B.bias$ .norm_k.lora_"),
    ),
    Kind(
        "a LoRA of x-flux (XLabs) for FLUX",
        "load it with diffusers, whose load_lora_weights translates it",
        signs=(".processor.qkv_lora", ".processor.proj_lora"),
    ),
    Kind(
        "a LoRA of HCP-Diffusion",
        "translate it with HCP-Diffusion: python -m hcpdiff.tools.lora_convert --to_webui",
        signs=(".___.",),
    ),
    Kind(
        "a motion LoRA of AnimateDiff",
        "load it with AnimateDiff",
        signs=(".motion_modules. _lora.down.weight$",),
    ),
    Kind(
        "a LoRA of a language model",
        "load it with PEFT",
        signs=("^base_model.model.model.layers.",),
    ),
    Kind(
        "the state of a training run of this program",
        "train further with the run's config; the adapter is the .safetensors file beside it",
        signs=("^network/",),
    ),
    ADAPTER,
    Kind(
        "a textual inversion (embedding)",
        "put it into the folder embeddings of your program and write its name in the prompt",
        signs=(
            "^emb_params$", "^string_to_param", "^string_to_token", "^clip_l$", "^clip_g$",
            "^text_encoders_0$",
        ),
        architectures=("/textual-inversion",),
    ),
    Kind(
        "a hypernetwork",
        "put it into AUTOMATIC1111's folder models/hypernetworks",
        # Lists of tensors are numbered from 0 on: none is so long that it has a 1280.
        signs=("^layer_structure$", "^activation_func$", "^1280$"),
        architectures=("/hypernetwork",),
    ),
    Kind(
        "a ControlNet",
        "load it as a ControlNet in your program",
        signs=(
            "^control_model.", "^input_hint_block.", "^controlnet_", "^zero_convs.0.",
            "^controlnet_cond_embedding.",
        ),
        architectures=("/controlnet",),
    ),
    Kind(
        "a T2I-Adapter",
        "load it as a ControlNet in your program",
        signs=("^adapter.body.", "^body.0.block1."),
    ),
    Kind(
        "an IP-Adapter",
        "load it with the IP-Adapter of your program",
        signs=("^image_proj.", "^ip_adapter."),
    ),
    Kind(
        "a motion module of AnimateDiff",
        "load it with AnimateDiff",
        signs=(".motion_modules.0.temporal_transformer.",),
    ),
    Kind("an upscaler", signs=("^conv_first.weight$", "^params_ema", "^model.1.sub.")),
    Kind("a Stable Cascade model", signs=("^effnet", "^clip_txt_mapper")),
    Kind("the state of an optimizer", signs=("^param_groups$",)),
    MODEL,
    Kind(
        "an autoencoder (VAE) alone",
        "it can be the option vae",
        signs=(
            "^encoder.conv_in.weight$", "^decoder.conv_in.weight$",
            "^first_stage_model.encoder.conv_in.weight$",
        ),
    ),
    Kind(
        "a U-Net alone, without text encoder",
        signs=("^input_blocks.0.0.weight$", "^down_blocks.0.resnets.0.conv1.weight$"),
    ),
    Kind("an image encoder (CLIP vision)", signs=("^vision_model.", "^visual.conv1.weight$")),
    Kind(
        "a text encoder alone",
        signs=(
            "^text_model.embeddings.", "^embeddings.token_embedding.weight$",
            "^encoder.block.0.layer.0.SelfAttention.",
        ),
    ),
)  # fmt: skip

_EMBEDDING = next(kind for kind in KINDS if kind.name.startswith("a textual inversion"))
#: Numbers a token of the text encoders: CLIP-L, OpenCLIP-H, OpenCLIP-G.
_WIDTHS = (768, 1024, 1280)
_POINTER = re.compile(rb"version https://(?:git-lfs|hawser)[^\n]*\n(?:.*\n)*?size (\d+)")
_PAGE = re.compile(rb"\s*<(?:!doctype html|html|head|body|script|\?xml|!--)", re.IGNORECASE)
#: A table or a key with its value, after comments.
_TOML = re.compile(
    r"\s*(?:#[^\n]*\s+)*"
    r"(?:\[{1,2}[A-Za-z_][\w.-]*\]{1,2}\s*(?:#|\n)|[A-Za-z_][\w.-]*[ \t]*=[ \t]*\S)"
)
_TITLE = re.compile(rb"<title[^>]*>([^<]+)", re.IGNORECASE)


def refuse_start(start: bytes, size: int, where: str) -> None:
    """Raise an error that names a file's kind if the first bytes show that it holds no tensors.

    Files of torch.save pass, and so does whatever may be a safetensors file.

    Args:
        start: the first bytes of the file, ``LOOK`` of them if it is not shorter.
        size: bytes of the whole file.
        where: the file's name, for messages.

    Raises:
        FormatError: the file is empty, a Git LFS pointer, a web page, an archive, a picture, ...
    """
    found = start_of(start, size)
    if found is not None:
        raise FormatError(f"this is {found.name}", where=where, fix=found.mend)


def start_of(start: bytes, size: int) -> Kind | None:
    """Recognise a file by its first bytes; see ``refuse_start``.

    Returns:
        Its kind, with what is known of this very file in the name; None if these bytes may begin a
        file of tensors.
    """
    # A safetensors file: a length of less than 4 GiB, then a header that begins with a brace.
    if start[4:9] == b"\0\0\0\0{":
        return None
    if start.startswith(b"PK\3\4"):
        return _zip_kind(start)
    placeholder = placeholder_of(start, size)
    if placeholder is not None:
        return placeholder
    for kind in KINDS:
        if start[kind.at :].startswith(kind.starts or (b"\0" * LOOK,)):
            return kind
    return _text_kind(start)


def placeholder_of(start: bytes, size: int) -> Kind | None:
    """Recognise what a failed download or clone leaves in the place of any file.

    Args:
        start, size: as for ``refuse_start``.

    Returns:
        The kind; None if these bytes may belong to a real file.
    """
    if not start.strip():
        held = "nothing" if not size else f"nothing but white space ({size} bytes)"
        return Kind(f"a file that holds {held}", f"the download failed: {_AGAIN}")
    if not start.strip(b"\0"):
        return Kind("a file of zeros", f"the download was never finished: {_AGAIN}")
    pointer = _POINTER.match(start)
    if pointer:
        return Kind(
            f"a Git LFS pointer: {file_size(size)} in place of the {file_size(int(pointer[1]))} "
            "of the file",
            "run git lfs pull in its folder, or download the file itself",
        )
    if _PAGE.match(start):
        title = _TITLE.search(start)
        told = f' ("{short(title[1].decode("utf-8", "replace"), 60)}")' if title else ""
        return Kind(f"a web page{told} that was saved under the file's name", _LOG_IN)
    return None


def kind_of(
    shapes: Mapping[str, Sequence[int]], metadata: Mapping[str, str] | None = None
) -> Kind | None:
    """Recognise a file of tensors by their names, and by its metadata.

    Args:
        shapes: key -> sizes of the tensor.
        metadata: of the file.

    Returns:
        The kind; ``ADAPTER`` for an adapter that is no special case, None if nothing is known.
    """
    architecture = (metadata or {}).get("modelspec.architecture", "")
    joined = "\n".join(("", *shapes, ""))
    for kind in KINDS:
        if architecture.endswith(kind.architectures or ("\n",)) or _has_sign(kind.signs, joined):
            return _with_family(kind, shapes) if kind is MODEL else kind
    if 0 < len(shapes) <= 4 and all(
        "." not in key and len(shape) in (1, 2) and shape[-1] in _WIDTHS
        for key, shape in shapes.items()
    ):
        return _EMBEDDING  # diffusers names the tensor as the token
    return _with_family(None, shapes)


def _with_family(kind: Kind | None, keys: Iterable[str]) -> Kind | None:
    """Return the family of a denoiser as a kind; the given kind if it is of none."""
    modules = {name for key in keys for name in key.split(".")}
    for family in FAMILIES.values():
        if family.submodules and family.submodules <= modules:
            return Kind(f"a model of the {family.title} family")
    return kind


def refuse_other_than_adapter(
    shapes: Mapping[str, Sequence[int]], metadata: Mapping[str, str], where: str
) -> None:
    """Raise an error that names a file's kind if its tensors are no adapter's.

    Args:
        shapes: key -> sizes of the tensor.
        metadata: of the file.
        where: the file's name, for messages.

    Raises:
        FormatError: the file holds no tensors, or those of something else. Files of which nothing
            is known pass.
    """
    instead = "name a LoRA, LoCon, LoHa, LoKr or another adapter"
    if not shapes:
        raise FormatError(
            "the file holds no tensors", where=where, fix="get or save it again, with its weights"
        )
    kind = kind_of(shapes, metadata)
    if kind is not None and kind is not ADAPTER:
        raise FormatError(f"this is {kind.name}", where=where, fix=also(kind.mend, instead))


def also(*clauses: str) -> str:
    """Join what a user can do to one fix; empty clauses are left out."""
    return "; ".join(clause for clause in clauses if clause)


def _has_sign(signs: Iterable[str], joined: str) -> bool:
    """Tell whether a sign occurs in names that stand between line breaks."""
    return any(
        all(part.replace("^", "\n").replace("$", "\n") in joined for part in sign.split())
        for sign in signs
    )


def _zip_kind(start: bytes) -> Kind | None:
    """Name a zip archive by the first file in it; None for an archive of torch.save."""
    length = int.from_bytes(start[26:28], "little")
    first = start[30 : 30 + length].decode("utf-8", "replace")
    if first.endswith(("/data.pkl", "/.format_version", "/.data/serialization_id", "/byteorder")):
        return None
    if first.endswith(".npy"):
        return Kind("an archive of NumPy's arrays (.npz)", _AGAIN)
    inside = f", which begins with {short(first, 60)}" if first else ""
    return Kind(f"a zip archive{inside}", _UNPACK)


def _text_kind(start: bytes) -> Kind | None:
    """Name a text, such as a server's answer in JSON; None if it is no text."""
    try:
        text = start[: LOOK - 4].decode("utf-8-sig" if start[:2] not in _UTF_16 else "utf-16")
    except UnicodeDecodeError:
        return None
    if not all(letter.isprintable() or letter.isspace() for letter in text):
        return None
    if _TOML.match(text):
        return Kind(
            "a config in TOML, not a file of tensors",
            "name the .safetensors file that was trained with it; lycoris-ext train reads configs",
        )
    what = "a JSON text" if text.lstrip()[:1] in ("{", "[") else "a text"
    begins = "it begins" if len(start) == LOOK else "it says"
    return Kind(f'{what}, perhaps the answer of a server; {begins}: "{short(text, 100)}"', _LOG_IN)


_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
