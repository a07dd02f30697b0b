"""What the user can do about an error of the operating system, such as a full disk."""

from __future__ import annotations

import errno

_UNPLUGGED = "the drive or network folder is not there: connect it, or correct the path"
_BAD_DISK = "the disk itself reports a fault: check that it is connected and not broken"
_IN_USE = "close the program that uses it, then try again"


_EITHER = {
    "ENAMETOOLONG": "the name is too long for this disk: shorten the names of file and folders",
    "EINVAL": "the name has characters that this disk does not allow: rename it",
    "ENOTDIR": "a part of this path is a file, not a folder: correct the path",
    "EISDIR": "there is a folder of this name: correct the path",
    "ELOOP": "a link of this path leads back to itself: correct the path",
    "EMFILE": "too many files are open: close other programs, then try again",
    "EIO": _BAD_DISK,
    "EBUSY": _IN_USE,
    "ETXTBSY": _IN_USE,
    **dict.fromkeys(("ENODEV", "ENXIO", "ESTALE", "ENOTCONN", "EHOSTDOWN"), _UNPLUGGED),
}
"""Name of an error in `errno` -> the remedy, whether the file is read or written. Systems lack some
of the names."""
_WRITING = {
    "ENOSPC": "the disk is full: free some disk space",
    "EDQUOT": "your share of this disk (quota) is used up: delete files of yours there",
    "EACCES": "you may not write there: correct the permissions of file and folder, or close the "
    "program that uses the file",
    "EPERM": "you may not write there: correct the permissions of file and folder",
    "EROFS": "this disk can only be read: write to another one",
    "EFBIG": "this disk takes no files of that size (FAT32: 4 GB): write to another one",
    "ENOENT": "a folder of this path, or its drive, is not there: correct the path",
}
_READING = {
    "EACCES": "you may not read it: correct the permissions of file and folder, or close the "
    "program that uses the file",
    "EPERM": "you may not read it: correct the permissions of file and folder",
    "EFBIG": "no file of its kind is so large: check that it is the right one",
    "ENOENT": "check the path",
}
_UNKNOWN = {
    **dict.fromkeys(
        ("EACCES", "EPERM"),
        "you may not use it: correct the permissions of file and folder, or close the program that "
        "uses the file",
    ),
    "ENOENT": "check the path, and whether the drive is there",
}
"""For who does not know whether the file was read or written."""
_WINDOWS = {
    19: "EROFS",  # ERROR_WRITE_PROTECT
    21: "ENODEV",  # ERROR_NOT_READY: no disk in the drive
    32: "EBUSY",  # ERROR_SHARING_VIOLATION
    39: "ENOSPC",  # ERROR_HANDLE_DISK_FULL
    53: "ENODEV",  # ERROR_BAD_NETPATH
    64: "ENODEV",  # ERROR_NETNAME_DELETED
    112: "ENOSPC",  # ERROR_DISK_FULL
    206: "ENAMETOOLONG",  # ERROR_FILENAME_EXCED_RANGE
    223: "EFBIG",  # ERROR_FILE_TOO_LARGE
    1295: "EDQUOT",  # ERROR_DISK_QUOTA_EXCEEDED
}
"""Windows' own number of an error -> its name in `errno`, where Python's `errno` tells less."""


class Unreadable(OSError):
    """A file that is not read, although the operating system would.

    Args:
        why: what is wrong with it.
        fix: what the user can do.
    """

    def __init__(self, why: str, fix: str) -> None:
        super().__init__(why)
        self.fix = fix


def reason(error: OSError) -> str:
    """Return what the operating system says, without number and path: "Permission denied"."""
    return error.strerror or str(error)


def remedy_for_writing(error: OSError, instead: str = "") -> str:
    """Return what to do about a file or folder that cannot be written, as the cause demands.

    Args:
        error: as the operating system raised it.
        instead: what would avoid the place, such as "choose another output_dir".
    """
    if isinstance(error, Unreadable):
        return error.fix
    known = (_EITHER | _WRITING).get(_name(error), "")
    return ", or ".join(filter(None, (known, instead))) or "choose another folder"


def remedy_for_reading(error: OSError) -> str:
    """Return what to do about a file or folder that cannot be read, as the cause demands."""
    if isinstance(error, Unreadable):
        return error.fix
    return (_EITHER | _READING).get(_name(error), "copy it to another disk, and read it there")


def remedy(error: OSError) -> str:
    """Return what to do about an error for who does not know what was done with which file."""
    if isinstance(error, Unreadable):
        return error.fix
    known = _EITHER | _WRITING | _UNKNOWN
    return known.get(_name(error), "correct this, then try again")


def why_no_text(error: OSError | UnicodeDecodeError) -> tuple[str, str]:
    """Return what is wrong with a file that cannot be read as UTF-8, and the remedy."""
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start + 1} is not UTF-8", "save it as UTF-8"
    return reason(error), remedy_for_reading(error)


def _name(error: OSError) -> str:
    windows = _WINDOWS.get(getattr(error, "winerror", None) or 0)
    return windows or errno.errorcode.get(error.errno or 0, "")
