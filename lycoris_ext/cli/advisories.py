"""Known holes of the packages that are used, as published up to READ.

`doctor` tells those that a file of a stranger can reach through this program, for the versions that
are installed; `make check` refuses a pinned version that any of them affects. Before a release the
list is read anew: `pip-audit --requirement constraints.txt` queries the databases.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

READ = "2026-11-30"
"""The day up to which advisories were looked for."""


@dataclass(frozen=True)
class Advisory:
    """A published hole of a package.

    Args:
        package: its name in the index.
        affected: versions that have the hole, such as "<10.3".
        id: its number.
        what: what it does, in a sentence without its subject and a full stop.
        reached: whether a file of a stranger can reach it through this program.
    """

    package: str
    affected: str
    id: str
    what: str
    reached: bool = False

    @property
    def source(self) -> str:
        return f"https://nvd.nist.gov/vuln/detail/{self.id}"

    def affects(self, version: str) -> bool:
        """Return True if a version has the hole; False for one that is no version."""
        try:
            return SpecifierSet(self.affected).contains(Version(version), prereleases=True)
        except InvalidVersion:
            return False


ADVISORIES = (
    Advisory(
        "pillow", "<10.0.1", "CVE-2023-4863",
        "a WebP picture can overwrite memory and so run code", reached=True,
    ),
    Advisory(
        "pillow", "<10.3", "CVE-2024-28219",
        "ImageCms can overwrite memory where a program names a long mode (none does here)",
    ),
    Advisory(
        "pillow", ">=10.3,<12.1.1", "CVE-2026-25990",
        "a PSD picture can overwrite memory (none is opened here)",
    ),
    Advisory("pillow", "<10", "CVE-2023-44271", "a long text takes any amount of memory"),
    Advisory("pillow", "<10.2", "CVE-2023-50447", "ImageMath.eval runs code"),
    Advisory("pillow", ">=11.2,<11.3", "CVE-2025-48379", "writing a DDS file overwrites memory"),
    Advisory("pillow", "<12.2", "CVE-2026-42308", "a font with huge advances overflows an integer"),
    Advisory(
        "torch", "<2.6", "CVE-2025-32434",
        "torch.load runs code in a file even with weights_only (it is not called here)",
    ),
    Advisory(
        "torch", "<2.10", "CVE-2026-24747",
        "torch.load with weights_only can overwrite memory (it is not called here)",
    ),
    Advisory(
        "transformers", ">=4.56,<5.3", "CVE-2026-4372",
        "a config.json can name code on the internet, which is then run", reached=True,
    ),
    Advisory("transformers", "==5.2.0", "CVE-2026-5241", "LightGlue's config switches on its code"),
    Advisory("transformers", "<5.0.0rc3", "CVE-2026-1839", "Trainer runs code in a checkpoint"),
    Advisory("transformers", "<4.38", "CVE-2024-3568", "TensorFlow checkpoints run code"),
    Advisory("tqdm", "<4.66.3", "CVE-2024-34062", "its own command line runs code in an argument"),
    Advisory("pyyaml", "<5.4", "CVE-2020-14343", "full_load runs code in a file"),
    Advisory("filelock", "<3.20.1", "CVE-2025-68146", "a lock is followed through a link"),
    Advisory("urllib3", "<2.6", "CVE-2025-66471", "an answer unpacks to any amount of memory"),
    Advisory("urllib3", "<2.6.3", "CVE-2026-21441", "a redirect unpacks to any amount of memory"),
    Advisory(
        "urllib3", ">=2.6,<2.7", "CVE-2026-44432", "a part of an answer unpacks the whole of it"
    ),
    Advisory("requests", "<2.32.4", "CVE-2024-47081", "passwords of .netrc reach another server"),
    Advisory("requests", "<2.31", "CVE-2023-32681", "passwords of a proxy reach another server"),
    Advisory("certifi", "<2023.7.22", "CVE-2023-37920", "trusts the certificates of e-Tugra"),
    Advisory("idna", "<3.7", "CVE-2024-3651", "a long name takes quadratic time"),
    Advisory("httpx", "<0.20", "CVE-2021-41945", "addresses are checked too little"),
    Advisory("h11", "<0.16", "CVE-2025-43859", "chunked answers are checked too little"),
    Advisory("jinja2", "<3.1.6", "CVE-2025-27516", "a template leaves its sandbox"),
    Advisory("setuptools", "<78.1.1", "CVE-2025-47273", "PackageIndex writes outside its folder"),
    Advisory("setuptools", "<70", "CVE-2024-6345", "PackageIndex runs code in an address"),
    Advisory("fonttools", ">=4.33,<4.60.2", "CVE-2025-66034", "varLib writes any file"),
    Advisory("fonttools", "<4.43", "CVE-2023-45139", "a font in SVG reads any file"),
    Advisory("pygments", "<2.15.1", "CVE-2022-40896", "some texts take exponential time"),
    Advisory("markdown-it-py", "<2.2", "CVE-2023-26303", "a text ends it with an error"),
    Advisory("selenium", "<4.14", "CVE-2023-5590", "a driver is ended by a null pointer"),
    Advisory("mkdocs", "<1.2.3", "CVE-2021-40978", "its own server shows other files"),
)  # fmt: skip


def known_holes(package: str, version: str) -> Iterator[Advisory]:
    """Yield the advisories that affect a version of a package."""
    name = canonicalize_name(package)
    for advisory in ADVISORIES:
        if advisory.package == name and advisory.affects(version):
            yield advisory
