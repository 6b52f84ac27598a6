"""Tables as Markdown, LaTeX and text."""

from known_rows import rows_of, table_of

from study.report import mean_tables, tables

COLUMN = mean_tables.REGISTRATION[0]


def test_formats() -> None:
    rows = {"a_1": rows_of({patient: [(3.0, 1.0 + 0.1 * patient)] for patient in range(5)})}
    table = mean_tables.text_table(table_of(rows, [COLUMN], {"a_1": "A_1, 5% & more", "none": "No rows"}), "p < 0.05")
    assert tables.markdown(table).splitlines() == [
        "|  | LV CD (mm) |",
        "| --- | ---: |",
        "| Before registration | 3.00 (0.00) |",
        r"| A_1, 5% & more | **1.20 (0.16)**\*\* |",
        "| change [95 % interval] | -1.80 [-2.00, -1.60] |",
        "| No rows | - |",
    ]
    latex = tables.latex(table)
    assert r"A\_1, 5\% \& more & \textbf{1.20 (0.16)}$^{**}$ \\" in latex
    assert all(rule in latex for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"p $<$ 0.05"))
    text = tables.terminal(table, 60)
    assert ">1.20 (0.16)**" in text and "\x1b" not in text
    assert "\x1b[1m" in tables.terminal(table, 60, colour=True)


def test_code_in_a_text_is_no_quotation_mark_and_no_dash_in_latex() -> None:
    assert tables.latex_text("with `--folds 5 --same_x`.") == r"with \texttt{-{}-folds 5 -{}-same\_x}."
