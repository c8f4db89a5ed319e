"""LaTeX tables in a two-column article: they fit, and no type in them is smaller than 7 pt."""

import re
import shutil
import subprocess

import pytest

from cambench.results.tables.leaderboard import write_leaderboard
from cambench.results.tables.selection import TableOptions

needs_tex = pytest.mark.skipif(
    not all(map(shutil.which, ("pdflatex", "pdftotext", "pdftoppm"))), reason="pdflatex or poppler-utils is missing"
)
ARTICLE = (
    "\\documentclass[twocolumn,10pt]{article}\n\\usepackage{booktabs,%sxcolor}\n\\begin{document}\n"
    "Before.\n\\input{%s}\nAfter.\n\\end{document}\n"
)


def rendered(folder, name):
    """Log of two passes, and heights of the words of the pages in pt."""
    for _ in range(2):
        done = subprocess.run(
            ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", f"{name}.tex"],
            cwd=folder, capture_output=True, text=True, errors="replace", check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-1500:]
    subprocess.run(["pdftotext", "-bbox", f"{name}.pdf", f"{name}.xml"], cwd=folder, check=True)
    boxes = re.findall(
        r'<word xMin="([\d.]+)" yMin="([\d.]+)" xMax="([\d.]+)" yMax="([\d.]+)">(.*?)</word>',
        (folder / f"{name}.xml").read_text(encoding="utf-8"),
    )
    # A digit of Computer Modern stands in a box of its ascent and descent, a little less than the size of the font.
    return done.stdout, [
        (float(y1) - float(y0), text) for _, y0, _, y1, text in boxes if re.fullmatch(r"\d+\.\d+", text)
    ]


def reference(folder):
    """Height of the box of a number that is set in exactly 7 pt."""
    (folder / "seven.tex").write_text("\\documentclass{article}\\begin{document}\\scriptsize 12.34\\end{document}")
    return rendered(folder, "seven")[1][0][0]


@needs_tex
@pytest.mark.parametrize("width", ["column", "text", "auto"])
@pytest.mark.parametrize("layout", ["compact", "full", "paper1", "paper2"])
def test_tables_fit_an_article_in_type_of_seven_points(tmp_path, toy, width, layout):
    out = toy.fill(tmp_path / "run", toy.manifest())
    options = TableOptions(layout=layout, width=width)
    write_leaderboard(out, tmp_path, resamples=50, options=options)
    name = layout if layout.startswith("paper") else "scores"
    (tmp_path / "article.tex").write_text(ARTICLE % ("siunitx,", name))
    log, heights = rendered(tmp_path, "article")
    assert "Overfull" not in log
    assert "Float too large" not in log
    assert len(heights) >= 8
    assert min(heights)[0] >= reference(tmp_path) - 0.05, min(heights)
    subprocess.run(["pdftoppm", "-r", "60", "-png", "article.pdf", "page"], cwd=tmp_path, check=True)
    assert list(tmp_path.glob("page*.png"))
    assert r"\resizebox" not in (tmp_path / f"{name}.tex").read_text()


@needs_tex
def test_standalone_tables_compile_as_they_are(tmp_path, toy):
    out = toy.fill(tmp_path / "run", toy.manifest())
    write_leaderboard(out, tmp_path, resamples=50, options=TableOptions(standalone=True))
    for name in ("scores", "intervals", "throughput", "leaderboard"):
        log, _ = rendered(tmp_path, name)
        assert "Overfull \\hbox" not in log, name
        assert "Float too large" not in log, name
