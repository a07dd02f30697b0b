"""Read the options of sd-scripts from a script or a command line.

A script is not run. Its variables are put in where the command uses them, if they are set to a
plain text; what it decides by conditions or computes cannot be known, and is an error that says so.
"""

from __future__ import annotations

import re
from itertools import pairwise

from lycoris_ext.errors import ConfigError
from lycoris_ext.options import alternatives
from lycoris_ext.training.config import all_options

NOT_READ = "words with variables"
_LISTS = (
    "network_args",
    "optimizer_args",
    "lr_scheduler_args",
    "base_weights",
    "base_weights_multiplier",
    "text_encoder_lr",
)
_ASSIGNMENTS = (
    re.compile(r"(?:export\s+|local\s+)?([A-Za-z_]\w*)=(.*)"),  # sh, and .env files
    re.compile(r'set\s+"?([A-Za-z_]\w*)=([^"]*)"?', re.IGNORECASE),  # Windows' cmd
    re.compile(r"\$(?:env:)?([A-Za-z_]\w*)\s*=\s*(.*)", re.IGNORECASE),  # PowerShell
)
_USES = re.compile(
    r"\$\{(?:env:)?(\w+)\}|\$(?:env:)?([A-Za-z_]\w*)|%(\w+)%|\$\{(\w+)\[[@*]\]\}", re.IGNORECASE
)
#: "${NAME:-text}" and "${NAME:+text}" of sh: a text for when the variable is not set, or is set.
_DEFAULTS = re.compile(r"\$\{(\w+):?([-+])([^{}]*)\}")
#: What is left of variables and computed values when those that are known have been put in.
_UNKNOWN = re.compile(rf"{_USES.pattern}|\$[\d({{@*#?]|%~\w*\d|(?<!\w)%\d|`|^@\w", re.IGNORECASE)
_TOKENS = re.compile(
    r"""(?:"(?:[^"\\]|\\.)*"|'[^']*'|\$\([^()]*\)|\$\{[^{}]*\}|`[^`]*`|\\.|[^\s"'])+""", re.DOTALL
)
_WINDOWS_TOKENS = re.compile(r"""(?:"[^"]*"|'[^']*'|[^\s"'])+""")
_CONTINUED = re.compile(r"(?<![ \t])[ \t]*[\\^`][ \t]*\r?\n[ \t]*")
#: Words without quotes behind which no options follow: another command, or where it prints. "|||"
#: is sd-scripts' usual keep_tokens_separator.
_ENDS = re.compile(r";|&&?|\|\|?|[12&]?>.*")
_END = "\n"
"""The word in place of what ends a command; no other word is a line break."""
_TRAINER = re.compile(r"train(_network|_db|_textual_inversion|_control_net)?\w*(\.py)?$|fine_tune")

_LONGEST_NAME = 1000
"""Characters of a program's path that are looked at, from its end."""
MOST_FILLED = 1_000_000
"""Characters that all variables of a script may unfold to."""


def read_command(text: str, where: str) -> dict[str, object]:
    """Read the options of a command line, or of the last command in a script that trains.

    Args:
        text: a script for sh, Windows' cmd or PowerShell, or a command as a GUI prints it.
        where: the file's name, for messages; ".env" files have no command but variables.

    Returns:
        Option -> text, list of texts, or True for a flag without value. ``training_script`` is the
        name of the program, such as "sdxl_train_network.py", if the command names one;
        ``NOT_READ`` lists the words with variables that the script does not set to a plain text.

    Raises:
        ConfigError: there is no such command.
    """
    variables = _Variables(where)
    spelt: dict[str, str] = {}
    commands: list[list[str]] = []  # of each its lines
    for indented in _CONTINUED.sub(" ", text).splitlines():
        line = indented.strip()
        if where.lower().endswith((".bat", ".cmd")):
            line = line.replace("^", "")  # it takes the special meaning from the next character
        if re.match(r"#|rem\b|::|//", line, re.IGNORECASE):
            continue
        # Pasted without its marks of continuation, or printed by PowerShell, a word a line.
        is_word = where.lower().endswith(".txt") and bool(line) and " " not in line
        assigned = None if is_word and commands else _assignment(line)
        if assigned:
            name, value = assigned
            # What is set within a condition is not known to hold.
            if not indented[:1].isspace() or name.lower() not in variables.values:
                variables.values[name.lower()] = spelt[name] = variables.put_into(value)
            continue
        line = variables.put_into(line)
        if commands and (line.startswith("--") or is_word):
            commands[-1].append(line)
        elif line.startswith("--") or (_trains(line) and ("--" in line or is_word)):
            commands.append([line])
    if where.lower().endswith(".env"):
        return dict(spelt)
    if not commands:
        raise ConfigError(
            "no command that trains is in this file",
            where=where,
            fix="it should hold a line such as: accelerate launch train_network.py --option=value",
        )
    program, words = _behind_program(_words("\n".join(commands[-1])))
    unknown = dict.fromkeys(word for word in words if _UNKNOWN.search(word))
    options = _options([word for word in words if word not in unknown])
    for word, behind in pairwise(words):
        name = word[2:].replace("-", "_")
        if behind in unknown and options.get(name) is True and not _is_switch(name):
            del options[name]
    return {
        **({"training_script": program} if program else {}),
        **options,
        **({NOT_READ: list(unknown)} if unknown else {}),
    }


def read_flags(text: str) -> dict[str, object]:
    """Read options from flags alone, as a text of "--option value --flag".

    Args:
        text: without the name of a program.
    """
    return _options(_words(text))


def _assignment(line: str) -> tuple[str, str] | None:
    """Return (name, value) if a line sets a variable to a text, a number, or to nothing."""
    for pattern in _ASSIGNMENTS:
        found = pattern.fullmatch(line)
        if found is None:
            continue
        value = found[2].strip()
        quoted = re.match(r"""(?P<mark>["'])(?P<inside>.*?)(?P=mark)""", value)
        if quoted:
            return found[1], quoted["inside"]
        value = re.sub(r"(?:(?<!\s)\s+#.*|;)$", "", value)
        if value.startswith(("[", "(", "@", "$(")) or (" " in value and "--" in value):
            return None
        return found[1], value
    return None


def _trains(line: str) -> bool:
    return any(_TRAINER.search(word.strip("\"'")[-_LONGEST_NAME:]) for word in line.split())


class _Variables:
    """The variables of a script that are set to a plain text.

    Args:
        where: the script's name, for messages.

    Attributes:
        values: name in small letters -> text.
    """

    def __init__(self, where: str) -> None:
        self.values: dict[str, str] = {}
        self._where = where
        self._room = MOST_FILLED

    def put_into(self, text: str) -> str:
        """Put the values in where a text uses variables.

        Raises:
            ConfigError: variables that hold variables unfold to more than ``MOST_FILLED``.
        """
        return _USES.sub(self._value, _DEFAULTS.sub(self._or_default, text))

    def _value(self, found: re.Match[str]) -> str:
        name = next(group for group in found.groups() if group)
        value = self.values.get(name.lower(), found[0])
        self._room -= len(value)
        if self._room < 0:
            raise ConfigError(
                f"its variables unfold to more than {MOST_FILLED:,} characters",
                where=self._where,
                fix="write out what the variables stand for",
            )
        return value

    def _or_default(self, found: re.Match[str]) -> str:
        name, sign, otherwise = found.groups()
        known = self.values.get(name.lower(), "")
        if sign == "+":
            return otherwise if known else ""
        return f"${{{name}}}" if known else otherwise.strip("\"'")


def _words(command: str) -> list[str]:
    """Split a command at its spaces; quotes are taken away, backslashes of paths are not."""
    windows = bool(re.search(r"[A-Za-z]:\\|\.\\|\\\\", command))
    words: list[str] = []
    for line in command.split("\n"):
        for token in (_WINDOWS_TOKENS if windows else _TOKENS).findall(line):
            if token.startswith("#"):  # a comment
                break
            words += _words_of(token, windows)
    return words


def _words_of(token: str, windows: bool) -> list[str]:
    """Return the word that is written so, and ``_END`` if the command ends there."""
    if _ENDS.fullmatch(token):
        return [_END]
    word = token.removesuffix(";")
    pieces = re.findall(r"""("(?:[^"\\]|\\.)*"|'[^']*'|[^"']+)""", word)
    plain = re.sub(r"[\"']", "", word) if windows else "".join(map(_unquoted, pieces))
    return [plain] if word == token else [plain, _END]


def _unquoted(piece: str) -> str:
    if piece.startswith("'"):
        return piece[1:-1]
    inside = piece[1:-1] if piece.startswith('"') else piece
    return re.sub(r'\\([\\"$` ])', r"\1", inside)


def _behind_program(words: list[str]) -> tuple[str, list[str]]:
    """Return the name of the program that trains, and the words behind it to the command's end.

    The name is "" if no program is named.
    """
    programs = [n for n, word in enumerate(words) if not word.startswith("-") and _trains(word)]
    behind = words[programs[-1] + 1 :] if programs else words
    behind = behind[: behind.index(_END)] if _END in behind else behind
    return re.split(r"[\\/]", words[programs[-1]])[-1] if programs else "", behind


def _is_switch(name: str) -> bool:
    """Return True if an option of ours needs no value; True for options that are none here."""
    known = all_options().get(name)
    return known is None or bool in alternatives(known.hint)


def _options(words: list[str]) -> dict[str, object]:
    """Put words together to options with their values."""
    found: dict[str, list[str]] = {}
    name = ""
    for word in words:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            name = name.replace("-", "_")
            found[name] = [value] if equals else []
        elif name:
            found[name].append(word)
    return {
        name: values if name in _LISTS else (" ".join(values) if values else True)
        for name, values in found.items()
    }
