"""The report as one self-contained HTML page, or as Markdown, from sections made of a few kinds of blocks."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from study.report.analysis import Analysis
from study.report.figures import Picture
from study.report.headline import Headline
from study.report.mean_tables import BEFORE
from study.report.store.records import StudyRecord
from study.report.tables import CODE, Table, markdown_text
from study.report.tables import markdown as markdown_table
from study.store_address import HIDDEN, without_secrets

ImageAddress = Callable[[Picture, bool], str]
"""A function that returns the address of a picture; its second argument is whether the page is dark."""

PHANTOM = (
    "All scans of this study are synthetic. Its numbers show that the software works and how arms compare on the "
    "phantom; they do not apply to patients."
)
PRIVATE = (
    "This report holds images of patients. The study's scans came from a folder of real data: unless their licence and "
    "your ethics committee say otherwise, this page, its folder and the tracking store must not leave this machine."
)


@dataclass(frozen=True)
class Text:
    """A paragraph. Text in backticks is set as code, and `[words](#id)` as a link within the page.

    Attributes:
        style: `note` for small type; `local` for what depends on this machine and is not verified.
        page_only: whether it is left out of Markdown.
    """

    text: str
    style: str = ""
    page_only: bool = False


@dataclass(frozen=True)
class Heading:
    """A heading within a section, with the name of an arm where it is about one."""

    text: str
    arm: str = ""


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Verdicts:
    """Pairs of a verdict, such as `supported`, and the sentence about its claim."""

    claims: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Definitions:
    """Pairs of a name and its value."""

    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ColourKey:
    """A note with the meaning of line colours: `before`, the pairs of name and CSS colour, `after`.

    An empty colour stands for the dashed line of cine.
    """

    before: str
    colours: tuple[tuple[str, str], ...]
    after: str


@dataclass(frozen=True)
class Pictures:
    """Pictures side by side.

    Attributes:
        titled: whether each has its title above it.
        layout: `grid`, `wide` (one wide picture that scrolls) or `rows` (one below the other).
        label: what a `wide` picture shows, for screen readers.
        combined: one picture of the same content for files and Markdown, where the pictures have no files of their own.
    """

    pictures: tuple[Picture, ...]
    titled: bool = False
    layout: str = "grid"
    label: str = ""
    combined: Picture | None = None

    @property
    def filed(self) -> tuple[Picture, ...]:
        """The pictures that are written to files."""
        return (self.combined,) if self.combined else self.pictures


@dataclass(frozen=True)
class Card:
    """The text about one arm: its title and name, its split, paragraphs, and its failed trials."""

    title: str
    arm: str
    split: str
    paragraphs: tuple[str, ...]
    failures: tuple[str, ...]


@dataclass(frozen=True)
class Cards:
    """One card per arm."""

    cards: tuple[Card, ...]


@dataclass(frozen=True)
class Details:
    """Blocks that the page shows on request, or at once where `is_open`."""

    summary: str
    blocks: "tuple[Block, ...]"
    is_open: bool = False


Block = (
    Text | Heading | Bullets | Verdicts | Definitions | ColourKey | Table | Pictures | Cards | Details
)  # what a section consists of


@dataclass(frozen=True)
class Section:
    """One section of the report. A section without blocks is not shown, but its CSV files are written.

    Attributes:
        name: its id on the page.
        title: its heading, also in the contents.
        blocks: what it shows, from top to bottom.
        frames: the tables of its CSV files by the stem of the file; numbers are unrounded.
        subtitle: added to the heading, not to the contents.
    """

    name: str
    title: str
    blocks: tuple[Block, ...]
    frames: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    subtitle: str = ""

    @property
    def heading(self) -> str:
        """The heading with the subtitle."""
        return f"{self.title}: {self.subtitle}" if self.subtitle else self.title


@dataclass(frozen=True)
class Content:
    """The content of a report.

    Attributes:
        study: the study.
        analysis: its numbers.
        sections: the sections in the order of the page.
        headline: the answer, with which the page begins.
        summary: what stands behind it, in a few sentences shown before the sections.
    """

    study: StudyRecord
    analysis: Analysis
    sections: tuple[Section, ...]
    headline: Headline
    summary: tuple[str, ...]

    @property
    def phantom(self) -> bool:
        """Whether the study's scans are synthetic."""
        return self.study.tags.get("data.kind") == "phantom"

    @property
    def data(self) -> str:
        """The origin of the scans, as text."""
        return "built-in phantom (synthetic scans)" if self.phantom else "a folder of scans given by the user"

    @property
    def blocks(self) -> Iterator[Block]:
        """All blocks of all sections, also those within `Details`."""
        for section in self.sections:
            for block in section.blocks:
                yield block
                if isinstance(block, Details):
                    yield from block.blocks


@dataclass(frozen=True)
class RunLinks:
    """The addresses of a study's runs, in the tracking server's UI or in the page's own table of runs.

    Attributes:
        server: the tracking server's address; empty for a store that no browser can open.
        experiment: the experiment's id.
        runs_of: run ids by key: `before`, the name of an arm or a baseline, or a run id itself.
    """

    server: str
    experiment: str
    runs_of: Mapping[str, tuple[str, ...]]

    def href(self, key: str) -> str:
        """Return the address of the runs behind a key; empty where the key has no run.

        A key with several runs, such as an arm with folds, leads to an anchor in the page's table of runs.
        """
        runs = self.runs_of.get(key, ())
        if not runs:
            return ""
        if len(runs) > 1:
            return f"#runs-{key}"
        return f"{self.server}/#/experiments/{self.experiment}/runs/{runs[0]}" if self.server else f"#run-{runs[0]}"


def run_links(study: StudyRecord) -> RunLinks:
    """Create the links to a study's runs."""
    uri = without_secrets(study.tracking_uri).replace(f"{HIDDEN}@", "")
    server = uri.rstrip("/") if uri.startswith(("http://", "https://")) else ""
    runs_of = {arm: tuple(record.run_id for record in records) for arm, records in study.by_arm.items()}
    runs_of |= {name: tuple(record.run_id for record in records) for name, records in study.by_baseline.items()}
    runs_of |= {record.run_id: (record.run_id,) for record in study.baselines}
    for arm in study.arms:
        own = (arm.run_id, *(trial.run_id for trial in arm.trials), *(again.run_id for again in arm.retrains))
        runs_of |= {run: (run,) for run in own}
    return RunLinks(server, study.experiment, {**runs_of, study.run_id: (study.run_id,), BEFORE: (study.run_id,)})


def html(content: Content, image: ImageAddress) -> str:
    """Return the report as an HTML page. All text is escaped; `image` returns the address of each picture."""
    environment = Environment(
        loader=PackageLoader("study.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["inline"] = _inline
    environment.filters["kind"] = lambda block: type(block).__name__
    return environment.get_template("report.html.j2").render(
        content=content,
        sections=[section for section in content.sections if section.blocks],
        image=image,
        href=run_links(content.study).href,
        banner=("Phantom data.", PHANTOM) if content.phantom else ("Do not share.", PRIVATE),
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    )


def markdown(content: Content) -> str:
    """Return the report's text and tables as Markdown that links to the picture files in the same folder."""
    parts = [f"# Study {content.study.study_id}"]
    parts += [markdown_text(sentence) for sentence in content.headline.sentences]
    parts.append(_list(content.summary))
    parts += [f"Data: {content.data}.", PHANTOM if content.phantom else PRIVATE]
    for section in content.sections:
        if body := _markdown_blocks(section.blocks):
            parts += [f"## {section.heading}", *body]
    return "\n\n".join(parts) + "\n"


def _inline(escaped: str) -> str:
    """Return an escaped text with its code and its links as HTML."""
    coded = re.sub(CODE, r"<code>\1</code>", str(escaped))  # as str, because Markup escapes what it joins
    return re.sub(r"\[([^]]+)\]\((#[\w-]+)\)", r'<a href="\2">\1</a>', coded)


def _markdown_blocks(blocks: Sequence[Block]) -> list[str]:
    """Return the paragraphs of Markdown of some blocks."""
    return [part for block in blocks for part in _markdown_block(block) if part]


def _markdown_block(block: Block) -> list[str]:
    match block:
        case Text():
            return [] if block.page_only else [markdown_text(block.text)]
        case Heading():
            return [f"### {_of_arm(block.text, block.arm)}"]
        case Bullets():
            return [_list(block.lines)]
        case Verdicts():
            return [_list([sentence for _, sentence in block.claims])]
        case Definitions():
            return [_list([f"{name}: {value}" for name, value in block.pairs])]
        case ColourKey():
            return [markdown_text(f"{block.before} {', '.join(name for name, _ in block.colours)}. {block.after}")]
        case Table():
            caption = f"**{markdown_text(block.caption)}**"
            return [] if block.tall else [caption, markdown_table(block).rstrip(), markdown_text(block.note)]
        case Pictures():
            return [text for picture in block.filed for text in (_image(picture), markdown_text(picture.note))]
        case Cards():
            return [
                part
                for card in block.cards
                for part in (
                    f"### {_of_arm(card.title, card.arm)}",
                    f"{card.split}.",
                    *(markdown_text(text) for text in card.paragraphs),
                    _list(card.failures),
                )
            ]
        case Details():
            own = _markdown_blocks(block.blocks)
            # A table's caption is its heading.
            return own if isinstance(block.blocks[0], Table) else [f"### {markdown_text(block.summary)}", *own]


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {markdown_text(line)}" for line in lines)


def _of_arm(text: str, arm: str) -> str:
    return markdown_text(f"{text} ({arm})" if arm else text)


def _image(picture: Picture) -> str:
    return f"![{picture.alt}]({picture.name}.{'png' if picture.photo else 'svg'})"
