"""Write `docs/reference/settings.md` from the settings in the code: `python docs/make_reference.py`."""

import textwrap
from pathlib import Path
from typing import Any

from jointnet.settings import Settings, load_settings, settings_names, settings_to_dict
from jointnet.settings.validation import json_schema

PAGE = Path(__file__).parent / "reference" / "settings.md"
HEAD = """# Settings

All settings of a training, with their defaults and the values of the shipped files `{shipped}`. A settings file
contains the values that differ from the defaults:

    [model]
    head = "fully_connected"

    [training]
    epochs = 100

Use it with `--settings FILE` in `jointnet.train` and `study.run`, or as `settings` in a
[search file](search-files.md). Unknown keys and values out of bounds are errors. `python -m jointnet.train --schema`
prints the JSON schema for editors.
"""


def page() -> str:
    """Return the page as Markdown."""
    names = [name for name in settings_names() if name != "default"]
    shipped = {name: settings_to_dict(load_settings(name)) for name in names}
    defaults = settings_to_dict(load_settings("default"))
    schema = json_schema(Settings)
    parts = [HEAD.format(shipped="`, `".join(names))]
    for section, values in defaults.items():
        table = schema["$defs"][schema["properties"][section]["$ref"].rpartition("/")[2]]
        parts.append(f"## `[{section}]`\n\n{table['description']}\n")
        for key, default in values.items():
            field = table["properties"][key]
            own = {name: shipped[name][section][key] for name in names}
            values_of = [_allowed(field), f"default {_value(default)}"]
            values_of += [f"{name} {_value(value)}" for name, value in own.items() if value != default]
            text = field["description"].replace("\n", " ")
            parts.append(textwrap.fill(f"- `{key}` ({'; '.join(values_of)}): {text}", 118, subsequent_indent="  "))
        parts.append("")
    return "\n".join(parts)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "none"
    if isinstance(value, dict):
        return "empty"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_value, value)) + "]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _allowed(field: dict[str, Any]) -> str:
    """Return the allowed values of a field. One that may be absent has those of its value."""
    if "anyOf" in field:
        return ", ".join(_allowed(each) for each in field["anyOf"] if each["type"] != "null")
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if field["type"] == "array":
        return _allowed(field["items"]) if "enum" in field["items"] else "integers"
    if field["type"] == "object":
        return "table"
    if field["type"] == "string":
        return "a reference to your own code"
    if field["type"] == "boolean":
        return "true, false"
    kind = "integer, " if field["type"] == "integer" else ""
    return f"{kind}{_value(field['minimum'])} to {_value(field['maximum'])}"


if __name__ == "__main__":
    PAGE.write_text(page())
