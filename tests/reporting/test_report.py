"""Test that a report agrees with its files and with scipy, and what its tables may and may not say."""

import base64
import csv
import io
import json
import re
from collections import Counter
from html import unescape
from itertools import product
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import pytest
from markdown_it import MarkdownIt
from PIL import Image
from scipy import stats

from tests.helpers.synthetic_report import MAP, ONE, TASKS, VALUES, cell, line, made_rows, made_study, write_study
from tools.engine.analysis.gains import gains
from tools.engine.analysis.results import load_results
from tools.engine.reporting.document import Figure
from tools.engine.reporting.formats.html import PICTURES
from tools.engine.reporting.formats.terminal import terminal_table
from tools.engine.reporting.report import write_report
from tools.engine.reporting.sections import _within_sentence


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Draw one blank figure, since drawing takes most of a report's time. test_figures.py and test_browser.py draw all."""
    file = io.BytesIO()
    Image.new("RGB", (144, 10)).save(file, "PNG")
    figure = Figure("gains", "Levels", "", file.getvalue())
    monkeypatch.setattr("tools.engine.reporting.report.figures_of", lambda *_: {"gains": figure})


@pytest.fixture
def folder(tmp_path) -> Path:
    return write_study(tmp_path / "demo-toy", made_rows())


# --- the report ---------------------------------------------------------------------------------------------


def test_the_table_of_gains_has_the_mean_and_spread_of_the_csv(folder):
    written = write_report(folder)
    text = written["report.md"].read_text()
    with open(folder / "results.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] != "seconds"]
    headings = {"top1": "top-1"}
    for recipe, label in {"scratch": "scratch", "b_standard": "B-standard", "smooth": "+ smooth"}.items():
        for metric in TASKS["classification"] + TASKS["detection"] + TASKS["segmentation"]:
            values = [float(r["value"]) for r in rows if (r["recipe"], r["metric"]) == (recipe, metric)]
            digits = 1 if metric == "mIoU" else 2  # only its seeds spread by a point
            shown = f"{mean(values):.{digits}f} ± {stdev(values):.{digits}f}" if values else "—"
            assert cell(text, label, headings.get(metric, metric))[0].strip("*") == shown
    assert "# demo at scale toy, 3 seeds" in text and "![" in text and "standard deviation of 3 seeds" in text
    assert set(written) == {p.name for p in folder.iterdir()} - {"results.csv", "study.json"}
    assert written["gains.png"].read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_gains_have_scipys_interval_and_a_verdict(folder):
    text = write_report(folder, ONE)["report.md"].read_text()
    for metric, digits, printed in (("mAP", 2, "p < 0.001"), ("mIoU", 1, "p {:.3f}")):
        a, b, control = (VALUES[recipe][metric] for recipe in ("smooth", "b_standard", "scratch"))
        test = stats.ttest_ind(a, b, equal_var=False)
        low, high = test.confidence_interval(0.95)
        # Holm's method for two comparisons leaves the larger p unchanged
        p = max(test.pvalue, 2 * stats.ttest_ind(control, b, equal_var=False).pvalue)
        _, shown, decided = cell(text, "+ smooth", metric)
        assert shown == f"{mean(a) - mean(b):+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"
        assert decided.split(", ")[1].replace("&lt;", "<") == printed.format(p)
    verdicts = {m: cell(text, "+ smooth", m)[2:] for m in ("top-1", "mAP", "pixAcc", "mIoU")}
    assert verdicts["pixAcc"] == [] and "No verdict: pixAcc measures the same runs again." in text
    assert {m: v[0].split(",")[0] for m, v in verdicts.items() if v} == {"top-1": "better", "mAP": "better", "mIoU": "undecided"}
    assert line(text, "Gains over scratch", "+ smooth", "mAP")[-1] == "better"
    assert cell(text, "scratch", "mAP")[2].startswith("worse") and cell(text, "scratch", "top-1") == ["—"]
    tex = write_report(folder, ONE)["report.tex"].read_text()
    assert "0 vs 3" in tex and "3 vs 3" in text


def test_a_comparison_has_the_same_verdict_in_every_table_and_format(tmp_path, capsys):
    study = dict(parents={"smooth": ["b_standard"]})
    folder = write_study(tmp_path / "s", made_rows(), **study)
    written = write_report(folder)
    terminal_table(folder)
    (gain,) = [g for g in gains(load_results(folder), [("smooth", "b_standard")]) if g.column == MAP]
    for text in (written["report.md"].read_text(), written["report.html"].read_text(), capsys.readouterr().out):
        assert gain.verdict in text
    assert cell(written["report.md"].read_text(), "+ smooth", "mAP")[2] == f"{gain.verdict}, p &lt; 0.001"
    low, high = gain.diff.interval
    cells = f"+4.17 & {{[}}{low:+.2f}, {high:+.2f}] & 3 vs 3 & \\textless{{}}0.001 & better"
    assert gain.p < 0.001 and cells in written["report.tex"].read_text()


def test_what_a_verdict_rests_on_is_said_in_every_table(tmp_path, capsys):
    tricks = {"b_standard": [["resnet_b", {}]], "smooth": [["distillation", {}]], "scratch": None}
    folder = write_study(tmp_path / "s", made_rows(), tricks=tricks)
    written = write_report(folder)
    assert cell(written["report.md"].read_text(), "+ smooth", "mAP")[2:] == ["better, p &lt; 0.001", "one teacher"]
    assert line(written["report.md"].read_text(), "Gains over scratch", "+ smooth", "mAP")[-1] == "better (one teacher)"
    assert '<td class="l better">better (one teacher)</td>' in written["report.html"].read_text()
    assert "and 4.17 of mAP (p < 0.001, one teacher)" in unescape(written["report.md"].read_text())
    terminal_table(folder)
    assert "one teacher" in capsys.readouterr().out


def test_one_seed_has_no_spread_and_no_verdict(tmp_path):
    values = {recipe: {m: v[:1] for m, v in metrics.items()} for recipe, metrics in VALUES.items()}
    text = write_report(write_study(tmp_path / "s", made_rows(values)))["report.md"].read_text()
    assert [cell(text, "+ smooth", m)[0] for m in ("top-1", "mAP", "mIoU")] == ["73.40", "64.90", "31.10"]
    assert cell(text, "+ smooth", "mAP")[1:] == ["+4.79", "undecided"]
    assert "1 seed\n" in text and not any("better" in row for row in text.splitlines() if row.startswith("|"))


def test_missing_and_diverged_are_not_zero(tmp_path):
    rows = [r for r in made_rows() if (r["recipe"], r["metric"]) != ("smooth", "mIoU")]
    for row in rows:
        lost = row["recipe"] == "smooth" and row["metric"] in ("mAP", "pixAcc")
        if lost and (row["metric"] == "pixAcc" or row["finetune_seed"] == 2):
            row.update(value="", status="diverged")
    folder = write_study(tmp_path / "s", rows)
    text = write_report(folder)["report.md"].read_text()
    finished = VALUES["smooth"]["mAP"][:2]
    assert cell(text, "+ smooth", "mAP")[0] == f"{mean(finished):.2f} ± {stdev(finished):.2f} (n=2, 1 diverged)"
    assert cell(text, "+ smooth", "mAP")[2:] == ["undecided, 2 vs 3", "1 of + smooth diverged"]
    assert cell(text, "+ smooth", "pixAcc") == ["— (3 diverged)"] and cell(text, "+ smooth", "mIoU") == ["—"]
    assert not re.search(r"\b0\.00\b", re.sub(r"\[.*?\]|<0.001", "", text))
    assert load_results(folder).cell("smooth", MAP).points == finished


def test_only_a_value_of_a_run_that_did_not_diverge_counts(tmp_path):
    rows = made_rows()
    first, second, _ = [r for r in rows if (r["recipe"], r["metric"]) == ("smooth", "mAP")]
    first.update(value="", status="failed")
    second.update(value="0.5", status="diverged")
    values = load_results(write_study(tmp_path / "s", rows)).cell("smooth", MAP)
    assert (values.points, str(values)) == ([64.2], "64.20 (n=1, 1 diverged)")


def test_transfers_of_one_backbone_count_once(tmp_path):
    rows = made_rows()
    twins = [r | dict(finetune_seed=7, value=float(r["value"]) + 1, run=r["run"] + "b") for r in rows if r["metric"] == "mAP"]
    twins = [r for r in twins if r["recipe"] == "smooth"]
    results = load_results(write_study(tmp_path / "s", rows + twins))
    assert results.cell("smooth", MAP).points == pytest.approx([v + 0.5 for v in VALUES["smooth"]["mAP"]])


def test_another_protocol_or_network_is_another_column(tmp_path):
    rows = made_rows()
    rows += [r | dict(protocol="q", value=1.0, run=r["run"] + "q") for r in rows if r["metric"] == "mAP"]
    text = write_report(write_study(tmp_path / "s", rows))["report.md"].read_text()
    heads = line(text, "Gains over B-standard", "recipe")
    assert heads[1:] == ["top-1", "mAP (p)", "mAP (q)", "pixAcc", "mIoU"]
    assert [cell(text, "+ smooth", f"mAP ({name})")[0].strip("*") for name in "pq"] == ["64.80 ± 0.56", "1.00 ± 0.00"]


def test_a_reference_that_has_not_run_is_replaced_with_a_note(tmp_path):
    rows = [r for r in made_rows() if r["recipe"] != "b_standard"]
    folder = write_study(tmp_path / "s", rows)
    text = write_report(folder)["report.md"].read_text()
    assert "The reference b_standard has not run; these gains are over the first recipe instead." in text
    assert "Gains over B-standard" not in text and text.count("# Gains over scratch\n") == 1


def test_published_numbers_stand_beside_ours_grey_with_their_source(folder):
    text = write_report(folder)["report.md"].read_text()
    assert line(text, "Published values", "recipe")[1:] == ["published mAP"]
    assert line(text, "Published values", "B-standard")[1:] == ["*77.54*"]  # italic is Markdown's grey
    assert line(text, "Published values", "+ smooth")[1:] == ["*80.71 (+3.17)*"]
    assert "Tables 8 and 9" in text and text.count("80.71") == 1
    assert "not like for like with ours. Ours are at scale toy (mAP by p). The published numbers" in text
    assert "Published, not run here" not in text


def test_published_numbers_are_like_for_like_by_the_papers_own_protocol_at_scale_paper(tmp_path):
    published = made_study([])["published"] | {"protocols": {"detection": "p"}}
    text = write_report(write_study(tmp_path / "a", made_rows(), scale="paper", published=published))["report.md"].read_text()
    assert "| 80.71 (+3.17) |" in text and "like for like" not in text
    other = published | {"protocols": {"detection": "q"}}
    text = write_report(write_study(tmp_path / "b", made_rows(), scale="paper", published=other))["report.md"].read_text()
    assert "*80.71 (+3.17)*" in text and "not like for like" in text


@pytest.mark.parametrize("protocols", [None, {}, {"segmentation": "he2019"}])
def test_published_numbers_without_a_protocol_leave_no_name_empty(tmp_path, protocols):
    published = made_study([])["published"] | ({} if protocols is None else {"protocols": protocols})
    text = write_report(write_study(tmp_path / "s", made_rows(), published=published))["report.md"].read_text()
    assert "The published numbers have another protocol: compare gains, never levels." in text and "protocols named" not in text


def test_published_numbers_of_what_has_not_run_are_listed(tmp_path):
    published = made_study([])["published"]
    published["values"].append({"recipe": "smooth", "network": "mobilenet", "metric": "top1", "value": 72.9})
    text = write_report(write_study(tmp_path / "s", made_rows(), published=published))["report.md"].read_text()
    assert line(text, "Published, not run here", "+ smooth") == ["+ smooth", "mobilenet", "top-1", "72.9"]


def test_rows_that_train_longer_are_marked(tmp_path):
    rows = made_rows()
    runs = {r["run"]: {"epochs": 8.0 if r["recipe"] == "smooth" and r["task"] == "classification" else 4.0} for r in rows}
    text = write_report(write_study(tmp_path / "s", rows, runs=runs))["report.md"].read_text()
    assert line(text, "Gains over B-standard", "+ smooth †")[0] == "+ smooth †" and "+ smooth 2 times as many." in text
    assert "B-standard †" not in text and "scratch †" not in text


def test_what_the_numbers_rest_on_is_shown(folder):
    text = write_report(folder)["report.md"].read_text()
    assert line(text, "Recipes", "+ smooth")[-1] == "label_smoothing eps=0.1"
    assert line(text, "What differs from the parent", "+ smooth")[2:] == [
        "model.head.loss.label_smoothing",
        "0.0",
        "0.1",
    ]
    assert line(text, "Protocols", "detection", "epochs")[-1] == "8"
    assert line(text, "Protocols", "detection", "chosen")[-1] == "lr, nms: by trial; flip: none"
    # seeds take 10, 20 and 30 s in each of three tasks; the hours of a detector include those of its pretraining
    cells = line(text, "Cost", "+ smooth", "detection")
    gained = mean(VALUES["smooth"]["mAP"]) - mean(VALUES["b_standard"]["mAP"])
    assert cells[2:] == ["detection_net", *["—"] * 5, "20.0", "—", "3", f"{gained / (40 / 60):+.2f}"]
    assert line(text, "Runs", "scratch", "detection")[2:] == ["scratch", "finetune", "float32", "—", "3"]
    assert line(text, "Provenance", "machine")[1:] == ["cpu AVX2, device cpu, threads 1", "24"]
    assert "nothing frozen" in text and "every verdict is undecided" in text


def test_each_section_has_a_summary_of_one_line(folder):
    text = write_report(folder)["report.md"].read_text()
    summaries = dict(re.findall(r"<summary><b>(.*?)</b>: (.*?)</summary>", text))
    assert summaries["Cost"] == "time of one seed: scratch 40 s, B-standard 60 s, + smooth 60 s"
    assert summaries["Gains over scratch"] == "2 better" and summaries["Recipes and protocols"].startswith("3 recipes; ")
    assert [_within_sentence(title) for title in ("IoU of each class", "Top-1 of each class")] == [
        "IoU of each class",
        "top-1 of each class",
    ]
    values = VALUES | {f"r{i}": VALUES["smooth"] for i in range(4)}
    text = write_report(write_study(folder.parent / "many", made_rows(values)))["report.md"].read_text()
    assert "<b>Cost</b>: time of one seed: 40 s (scratch) to 60 s (" in text


def test_names_are_data_in_every_format(tmp_path, capsys):
    name = '<script>alert("x")</script> & [red]50%_a|b$'
    folder = write_study(tmp_path / "s", made_rows(), labels={"smooth": name}, name="<b>demo</b>")
    written = write_report(folder)
    page = written["report.html"].read_text()
    assert "<script>alert" not in page and page.count("<script") == 1 and "<b>demo" not in page
    assert "&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt; &amp; [red]" in page
    assert "<script" not in written["report.md"].read_text() and "[red]50%_a\\|b$" in written["report.md"].read_text()
    assert r"\& {[}red]50\%\_a|b\$" in written["report.tex"].read_text()
    terminal_table(folder)
    assert "[red]" in capsys.readouterr().out.replace("\n", "")


def test_html_needs_no_other_file_and_says_what_the_markdown_says(folder):
    written = write_report(folder)
    page, text = written["report.html"].read_text(), written["report.md"].read_text()
    assert set(re.findall(r'src="([^"]{0,22})', page)) == {"data:image/png;base64,"}
    names = re.findall(r'id="(.*?)"', page)
    assert len(set(names)) == len(names) and set(re.findall(r'href="#(.*?)"', page)) < set(names)
    assert re.findall(r'href="(?!#)(.*?)"', page) == ["data:,"]  # no icon is asked for
    assert page.index('class="verdict"') < page.index("<table") and text.index("**") < text.index("\n| ")
    cells = [re.sub(r"<.*?>", " ", text) for text in re.findall(r"<td.*?</td>", page)]
    lines = [row.strip("|").split(" | ") for row in text.splitlines() if re.match(r"\| (?!---|recipe|task|item)", row)]
    shown = Counter(tuple(unescape(text).split()) for text in cells)
    assert shown - Counter(tuple(unescape(text).replace("*", "").replace("<br>", " ").split()) for r in lines for text in r) == {}


def add_sheets(folder: Path, *runs: str) -> None:
    """Give every run of a study the path of its sheet, as tools/collect.py does, and draw the sheets of ``runs``."""
    study = json.loads((folder / "study.json").read_text())
    study["runs"] = {key: run | {"pictures": f"../runs/{key}/pictures.png"} for key, run in study["runs"].items()}
    (folder / "study.json").write_text(json.dumps(study))
    for run in runs:
        path = folder.parent / "runs" / run / "pictures.png"
        path.parent.mkdir(parents=True)
        Image.new("RGB", (40, 30), "red").save(path)


def test_the_first_picture_of_each_task_is_inlined_and_the_others_are_linked(folder):
    runs = ("detection-smooth-1", "detection-smooth-2", "classification-smooth-0", "detection-b_standard-0")
    add_sheets(folder, *runs)
    written = write_report(folder)
    page, text = written["report.html"].read_text(), written["report.md"].read_text()
    captions = [
        "B-standard, detection by detection_net, seed 0",
        "+ smooth, classification by classification_net, seed 0",
        "+ smooth, detection by detection_net, seed 1",
    ]
    assert [text for text in re.findall(r"<figcaption>(.*?)</figcaption>", page) if "seed " in text] == captions[:2]
    assert re.findall(r'src="([^"]{0,27})', page)[-2:] == ["data:image/webp;base64,UklG"] * 2
    assert re.findall(r'<a href="(\.\..*?)"', page) == [f"../runs/{run}/pictures.png" for run in (runs[3], *runs[2::-2])]
    assert f'<a href="../runs/{runs[0]}/pictures.png">{captions[2]}</a>' in page
    shown = [f"{captions[i]}:\n\n![pictures](../runs/{runs[k]}/pictures.png)" for i, k in ((0, 3), (1, 2))]
    shown.append(f"More pictures, in files beside this report:\n\n- [{captions[2]}](../runs/{runs[0]}/pictures.png)")
    assert "\n\n".join(shown) in text.split("<b>Pictures</b>")[1]


def test_large_sheets_are_scaled_down_until_all_fit_a_page(folder):
    runs = [f"{task}-smooth-0" for task in ("classification", "detection", "segmentation")]
    add_sheets(folder, *runs)
    noise = np.random.default_rng(0).integers(0, 255, (900, 1400, 3), np.uint8)
    for run in runs:
        Image.fromarray(noise).save(folder.parent / f"runs/{run}/pictures.png")
    page = write_report(folder)["report.html"].read_text()
    sheets = [base64.b64decode(data) for data in re.findall(r"data:image/webp;base64,([^\"]*)", page)]
    assert len(sheets) == 3 and sum(map(len, sheets)) <= PICTURES and len(page) < 1_500_000
    widths = {Image.open(io.BytesIO(sheet)).width for sheet in sheets}
    assert len(widths) == 1 and 400 <= widths.pop() < 1400


def test_a_report_without_pictures_does_not_speak_of_them(folder):
    add_sheets(folder)
    assert not any("Pictures" in path.read_text() for name, path in write_report(folder).items() if path.suffix != ".png")


def test_pictures_that_cannot_be_read_are_named(folder):
    add_sheets(folder, "detection-smooth-0")
    path = folder.parent / "runs/detection-smooth-0/pictures.png"
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(ValueError, match="detection-smooth-0/pictures.png cannot be read .* draw it again with tools/show.py"):
        write_report(folder)


def test_latex_is_a_booktabs_table(folder):
    text = write_report(folder)["report.tex"].read_text()
    assert text.count(r"\toprule") == text.count(r"\midrule") == text.count(r"\bottomrule") == 3
    assert r"+ smooth & 73.90 $\pm$ 0.50 (n=3) & " in text and "---" in text
    assert "±" not in text and "—" not in text


@pytest.mark.parametrize("width", [60, 80, 140])
def test_the_terminal_shows_the_verdict_and_the_cells_of_the_table_of_gains(folder, capsys, width):
    from rich.console import Console

    terminal_table(folder, Console(width=width))
    out = capsys.readouterr().out
    assert "…" not in out and max(map(len, out.splitlines())) <= width
    assert "+ smooth beats B-standard by 3.07 points of top-1" in " ".join(out.split()) and "Unproven: " in out
    text = write_report(folder)["report.md"].read_text()
    for label, metric in product(("scratch", "B-standard", "+ smooth"), ("top-1", "mAP", "mIoU")):
        for shown in cell(text, label, metric):
            assert unescape(shown).strip("*") in out
    assert "64.80 ± 0.56" in out and "+4.17 [" in out and "pixAcc" not in out  # 64.80 by hand, from VALUES
    assert " ".join(out.split()).endswith("Time: of all runs of one seed.")


def test_a_terminal_that_is_too_narrow_gets_the_columns_in_tables_below_each_other(folder, capsys):
    from rich.console import Console

    terminal_table(folder, Console(width=60))
    heads = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("recipe ")]
    assert heads == [["recipe", "top-1", "mAP"], ["recipe", "mIoU", "time"]]


def test_github_renders_every_table_and_figure_of_the_markdown(folder):
    text = write_report(folder)["report.md"].read_text()
    page = MarkdownIt("commonmark").enable("table").render(text)  # with HTML, as GitHub's Markdown
    tables = len(re.findall(r"^\| ---", text, re.M))
    assert page.count("<table>") == tables > 5 and "| ---" not in page and "**" not in page
    assert page.count("<img ") == len(re.findall(r"^!\[", text, re.M)) > 0
    assert page.count("<details>") == page.count("</details>") == page.count("<summary>") > 5
