"""Write a model as a MONAI bundle: `python -m jointnet.export_bundle --model M --out DIR` (`docs/interop.md`)."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from jointnet.errors import SettingsError
from jointnet.export_bundle.bundle import bundle_files
from jointnet.model_file import load_model
from jointnet.predict.__main__ import LOCAL_MODELS, ModelNames
from jointnet.system.atomic_file import make_folder_once
from jointnet.system.commands import run_command

UNSAID = "not stated"


def main(
    arguments: Sequence[str] | None = None, models: ModelNames = LOCAL_MODELS, program: str = "jointnet.export_bundle"
) -> int:
    """Run the command and return its exit status: 0 done, 2 invalid command line or model.

    Args:
        arguments: the command line; `sys.argv` if None.
        models: the accepted values of `--model`.
        program: the name of the module that is run.
    """
    options = _parser(program, models).parse_args(arguments)
    return run_command(lambda: _export(options, models.find))


def _parser(program: str, models: ModelNames) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m {program}",
        description="Write a model as a MONAI bundle; docs/interop.md says what it holds and how it is run.",
        allow_abbrev=False,
    )
    parser.add_argument("--model", required=True, help=models.help)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the bundle; must not exist or be empty")
    parser.add_argument("--authors", default=UNSAID, help="who made the model, for metadata.json")
    parser.add_argument("--copyright", default=UNSAID, help="of the model, for metadata.json")
    return parser


def _export(options: argparse.Namespace, find_model: Callable[[str], Path]) -> None:
    out: Path = options.out
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise SettingsError(f"--out: must be a folder that is empty or does not exist, got {out}")
    saved = load_model(find_model(options.model))
    folder = out.resolve()
    files = bundle_files(saved, folder.name, options.authors, options.copyright)

    def fill(draft: Path) -> None:
        for name, content in files.items():
            path = draft / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    folder.parent.mkdir(parents=True, exist_ok=True)
    make_folder_once(folder, fill, folder.with_name(f".{folder.name}.lock"), is_there=lambda: False)
    print(f"{out}: bundle of a {saved.settings.model.name} model, epoch {saved.epoch}")


if __name__ == "__main__":
    sys.exit(main())
