"""Settings as TOML text, with a comment above each that has one."""

import json
from collections.abc import Mapping
from typing import Any

_WIDTH = 118


def toml_text(tree: Mapping[str, Any], comments: Mapping[str, str], *, head: str = "") -> str:
    """Write a tree of settings; None is left out.

    Args:
        tree: Sections by name, of numbers, flags, text, lists and sections. A list of sections is written in one line.
        comments: By the dotted name of a setting; one without a setting stands at the end of its section.
        head: Comment on top.
    """
    lines = _comment(head)
    _section(lines, tree, (), dict(comments))
    return "\n".join(lines).strip() + "\n"


def _section(lines: list[str], tree: Mapping[str, Any], path: tuple[str, ...], comments: dict[str, str]) -> None:
    values = {name: value for name, value in tree.items() if not isinstance(value, Mapping) and value is not None}
    below = {name: value for name, value in tree.items() if isinstance(value, Mapping)}
    mine = {name: said for name, said in comments.items() if tuple(name.split(".")[:-1]) == path}
    if path and (values or mine or not below):
        lines += ["", f"[{'.'.join(map(_key, path))}]"]
    for name, value in values.items():
        lines += _comment(mine.pop(".".join((*path, name)), ""))
        lines.append(f"{_key(name)} = {_value(value)}")
    for name, said in mine.items():
        if name.split(".")[-1] not in below:
            lines += _comment(f"{name.split('.')[-1]}: {said}")
    for name, value in below.items():
        _section(lines, value, (*path, name), comments)


def _comment(text: str) -> list[str]:
    return [f"# {line}" for given in text.splitlines() for line in _wrapped(given)]


def _wrapped(text: str) -> list[str]:
    """Lines of whole words."""
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + len(word) + 1 > _WIDTH:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return lines


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else json.dumps(name)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items() if v is not None) + " }"
    return "[" + ", ".join(_value(one) for one in value) + "]"
