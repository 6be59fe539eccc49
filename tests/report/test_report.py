"""The report: order, bold and marks of its tables, sentences, plots, Markdown."""

import copy
import re

import pytest
import report_data
from report_data import LOG

from gistchat.evaluate.analysis import analyse, analyse_probe
from gistchat.evaluate.bootstrap import mean
from gistchat.evaluate.metrics import METRICS, MetricEntry
from gistchat.report import plots
from gistchat.report import write as report
from gistchat.report.sentences import compared, explanation, main_sentences, sentences, verdicts
from gistchat.report.tables import best, control_table, cost_table, groups, main_table, markdown, result_table


@pytest.fixture(scope="module")
def single() -> tuple[dict, list]:
    return copy.deepcopy(report_data.single())


@pytest.fixture(scope="module")
def budgets() -> tuple[dict, list]:
    return copy.deepcopy(report_data.budgets())


@pytest.fixture(scope="module")
def experiment() -> tuple[dict, list]:
    return copy.deepcopy(report_data.experiment())


def texts(table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table.rows]


def bold(table) -> list[str]:
    """The systems whose row has something bold."""
    return [" ".join(cell.text for cell in row[: table.words]) for row in table.rows if any(c.bold for c in row)]


def test_rows_are_sorted_by_model_budget_and_perplexity(budgets, single, experiment):
    rows = [row[:3] for row in texts(main_table(budgets[0], ""))]
    assert [row[2] for row in rows] == ["16"] * 3 + ["64"] * 3 + ["256"] * 3 + ["-"] * 2
    assert rows[6:9] == [["tuned", "summary", "256"], ["tuned", "recent", "256"], ["tuned", "shuffled", "256"]]
    for group in groups(budgets[0], ""):
        values = [result["metrics"]["perplexity"]["value"] for result in group]
        assert values == sorted(values)
    # With one budget, what has none stands among the others, and there is no column for it.
    table = main_table(single[0], "")
    assert table.columns == [
        "model",
        "context",
        "perplexity",
        "ROUGE-L",
        "distinct-2",
        "reply\ntokens",
        "prompt\ntokens",
    ]
    assert {row[1] for row in texts(table)[:2]} == {"recent", "summary"}
    assert [row[:2] for row in texts(table)[2:]] == [
        ["tuned", name] for name in ("full", "recent", "summary", "shuffled", "last")
    ]
    assert table.starts == {2}
    assert [row[1] for row in texts(main_table(experiment[0], "small"))] == ["recent", "summary"]
    assert [row[1] for row in texts(main_table(experiment[0], "large"))] == ["summary", "recent"]


def test_bold_is_only_what_is_shown_to_be_better_than_the_next(budgets, single, experiment):
    # At 16 the baseline is best and all others but the control are worse; at 64 nothing is shown; without a budget
    # nothing is compared.
    assert bold(result_table(budgets[0], "")) == ["tuned recent 16", "tuned summary 256"]
    assert bold(result_table(single[0], "")) == ["tuned full"]
    assert bold(main_table(experiment[0], "small")) == ["tuned recent"]
    assert bold(main_table(experiment[0], "large")) == ["tuned summary"]
    weak = copy.deepcopy(single[0])
    for found in weak["comparisons"]:
        found["significant"] = False
    assert bold(result_table(weak, "")) == []


def test_a_baseline_is_bold_only_where_all_others_are_worse_and_a_control_is_never(budgets):
    values = budgets[0]
    group = next(group for group in groups(values, "") if group[0]["budget"] == 16)
    assert best(values, group)["strategy"] == "recent"
    unsure = copy.deepcopy(values)
    for found in unsure["comparisons"]:
        if found["of"] == "tuned summary 16" and found["family"] == "strategy":
            found["significant"] = False
    assert best(unsure, group) is None
    # A control in front says that something is wrong with the group.
    assert best(values, sorted(group, key=lambda result: result["strategy"] != "shuffled")) is None
    # Between two that are not the baseline, nothing was tested.
    three = [{**group[1], "strategy": "hybrid"}, {**group[1]}, group[0]]
    assert best(values, three) is None


def test_marks_follow_the_corrected_p_value(single):
    rows = {tuple(row[:2]): row[2] for row in texts(main_table(single[0], ""))}
    assert rows["tuned", "full"].endswith("] +")
    assert rows["tuned", "last"].endswith("] -")
    assert rows["tuned", "recent"].endswith("]")
    assert rows["base", "summary"].endswith("]")  # nothing is shown
    unsure = copy.deepcopy(single[0])
    for found in unsure["comparisons"]:
        found["significant"] = False
    assert all(row[2].endswith("]") for row in texts(main_table(unsure, "")))


def test_tables_of_depth_seeds_and_planted_facts(single, experiment):
    depth, probe, seeds = (
        report.report_tables(values)[name] for name, values in
        (("By depth", single[0]), ("Planted facts", single[0]), ("By seed", experiment[0]))
    )  # fmt: skip
    assert depth[""].columns == ["model", "context", "0 to 11 turns", "24 to 47 turns"]
    assert [row[:2] for row in texts(depth[""])] == [row[:2] for row in texts(main_table(single[0], ""))]
    assert texts(probe[""])[0][2:] == ["4", "50.0 [0.0, 100.0]", "75.0 [25.0, 100.0]", "66.7 [0.0, 100.0]", "50", "50"]
    assert seeds["large"].columns == ["model", "context", "seed 1", "seed 2"]
    assert "By seed" not in report.report_tables(single[0])


def test_planted_facts_in_the_prompt_and_answered_by_wording_and_distance(single, tmp_path):
    rows = [row | {"shared": row["id"] in ("p1", "p3")} for row in report_data.make_probe(single[1])]
    metrics = single[0] | {"probe": analyse_probe(rows, 100, 0)}
    [table] = report.report_tables(metrics)["Planted facts in the prompt"].values()
    assert table.columns == ["model", "context", "question", "after 0 turns", "after 10 turns", "all"]
    own = [row[2:] for row in texts(table) if row[:2] == ["tuned", "summary"]]
    assert own == [["shares a word", "-", "50 / 100", "50 / 100"], ["shares none", "100 / 50", "-", "100 / 50"]]
    [said] = [line for line in sentences(metrics) if line.startswith("Planted facts, tuned model at 64 tokens: ")]
    assert "where the question shares a word with what was told, recent 50 %, shuffled 50 %, summary 50 %" in said
    assert (
        "where it shares none, recent 100 %, shuffled 100 %, summary 100 %. Answered of those in the prompt, " in said
    )
    assert said.endswith("recent 67 %, shuffled 67 %, summary 67 %.")
    assert said in main_sentences(metrics)
    assert said in report.write_report(tmp_path, "title", "subtitle", metrics, single[1]).read_text()
    assert said in (tmp_path / "report.md").read_text()


def test_runs_that_did_not_ask_in_two_ways_still_have_a_report(single, tmp_path):
    older = copy.deepcopy(single[0])
    for entry in older["probe"]:
        del entry["used"], entry["by_question"]
    assert "Planted facts in the prompt" not in report.report_tables(older)
    assert texts(report.report_tables(older)["Planted facts"][""])[0][3:] == [
        "50.0 [0.0, 100.0]", "75.0 [25.0, 100.0]", "50", "50",
    ]  # fmt: skip
    assert not any("shares a word" in line for line in sentences(older))
    report.write_report(tmp_path, "title", "subtitle", older, single[1])


def test_mauve_of_one_run_and_of_several_seeds(single, experiment):
    assert "MAUVE" not in report.report_tables(single[0])
    assert "MAUVE" not in report.report_tables(single[0] | {"mauve": []})
    own = {"variant": "", "model": "tuned", "strategy": "recent", "budget": 64, "value": 71.26, "replies": 120}
    one = single[0] | {"mauve": [own, own | {"strategy": "summary", "value": 3.0}]}
    [table] = report.report_tables(one)["MAUVE"].values()
    assert table.columns == ["model", "context", "replies", "MAUVE %"]
    assert {row[1]: row[2:] for row in texts(table)} == {"recent": ["120", "71.3"], "summary": ["120", "3.0"]}
    seeds = [own | {"variant": "large", "seed": seed, "value": 50.0 + seed} for seed in (1, 2)]
    several = report.report_tables(experiment[0] | {"mauve": [*seeds, own | {"variant": "small", "seed": 2}]})["MAUVE"]
    assert several["large"].columns == ["model", "context", "replies", "MAUVE %, seed 1", "MAUVE %, seed 2"]
    assert texts(several["large"]) == [["tuned", "recent", "120", "51.0", "52.0"]]
    assert texts(several["small"]) == [["tuned", "recent", "120", "71.3"]]


def test_controls_stand_apart(single):
    assert [row[0] for row in texts(control_table(single[0]))] == ["gold", "echo", "random-reply"]
    assert "control" not in {row[0] for row in texts(result_table(single[0], ""))}
    assert control_table(single[0]).columns[:3] == ["control", "ROUGE-1", "ROUGE-2"]


def test_costs(single, experiment):
    table = cost_table(single[0], "")
    costs = {row[1]: dict(zip(table.columns, row, strict=True)) for row in texts(table)}  # the tuned ones come last
    recent, summary = costs["recent"], costs["summary"]
    assert (recent["prefill s"], recent["decode s"], recent["s per reply"]) == ("0.25", "0.75", "1.00")
    assert recent["cache MB"] == "149.00"  # (140 + 9 tokens) of a million bytes
    assert (recent["summary s"], summary["summary s"]) == ("-", "0.125")
    assert summary["in the cache %"] == "50.0"
    small, large = (cost_table(experiment[0], name) for name in ("small", "large"))
    assert "summary s" not in small.columns  # as nobody tells
    cache = small.columns.index("cache MB")
    assert [row[cache] for row in texts(small)] == ["149.00", "29.00"]
    assert [row[cache] for row in texts(large)] == ["58.00", "298.00"]


def test_sentences_say_worse_better_and_not_shown(budgets):
    last, full, worse, unshown, better = compared(budgets[0], "strategy")
    assert last.startswith("Tuned last has ")
    assert " higher perplexity than tuned recent at 256 tokens [" in last
    assert full.startswith("Tuned full has ")
    percent = r"(\d+\.\d) %"
    found = re.fullmatch(
        rf"At 16 tokens, tuned summary has {percent} higher perplexity than tuned recent "
        rf"\[{percent}, {percent}\], Holm p (?:= 0\.0\d+|< 0\.001): it is worse\.",
        worse,
    )
    value, low, high = map(float, found.groups())
    assert low < value < high
    assert 20 < value < 24  # exp(0.2) is 1.22
    assert re.fullmatch(
        rf"At 64 tokens, tuned summary is not shown to differ from tuned recent: at most {percent} worse, at most "
        rf"{percent} better, Holm p = [\d.]+\.",
        unshown,
    )
    found = re.search(rf"At 256 tokens, tuned summary has {percent} lower .*\[{percent}, {percent}\].*better\.", better)
    value, low, high = map(float, found.groups())
    assert low < value < high
    assert 17 < value < 20  # exp(-0.2) is 0.82
    assert verdicts(budgets[0]) == [
        "In short, the tuned model against recent: summary is worse at 16 tokens, not shown to differ at 64 tokens, "
        "better at 256 tokens."
    ]
    assert sentences(budgets[0])[-1] == verdicts(budgets[0])[0]


def test_sentences_of_controls_and_tuning(budgets, single):
    unread, read, much = compared(budgets[0], "control")
    assert unread.startswith("At 16 tokens, it is not shown that it matters to the tuned model whose summary it is")
    raised = r"the tuned model reads the summary: another dialogue's raises perplexity by (\d+)\.\d % \[\d"
    assert 20 <= int(re.match(rf"At 64 tokens, {raised}", read)[1]) <= 23
    assert 47 <= int(re.match(rf"At 256 tokens, {raised}", much)[1]) <= 51
    assert re.match(r"Tuning lowers the perplexity of recent by 5\d\.\d % \[5", compared(single[0], "tuning")[0])
    turned = copy.deepcopy(budgets[0])
    for one in turned["comparisons"]:
        one |= {"ratio": 1 / one["ratio"], "ratio_low": 1 / one["ratio_high"], "ratio_high": 1 / one["ratio_low"]}
    assert "does better with another dialogue's summary" in compared(turned, "control")[1]


def test_sentences_compare_variants_with_the_first(experiment):
    baseline, summary = compared(experiment[0], "variant")
    assert baseline.startswith("large tuned recent is not shown to differ from small tuned recent: at most ")
    lower = r"large tuned summary has \d+\.\d % lower bits per byte than small tuned summary \[.*\], Holm p .*"
    assert re.fullmatch(rf"{lower}: it is better\.", summary)


def test_a_difference_that_the_correction_takes_back_is_called_so(single):
    values = copy.deepcopy(single[0])
    [found] = [one for one in values["comparisons"] if one["of"] == "tuned summary" and one["family"] == "strategy"]
    found |= {"significant": False, "p_holm": 0.0625}
    [line] = [line for line in compared(values, "strategy") if line.startswith("Tuned summary")]
    assert re.search(r"2\d\.\d % worse by itself, but not after the correction, Holm p = 0\.0625\.", line)


def test_the_explanation_says_what_was_tested(single, experiment):
    text = explanation(single[0])
    assert "30 held-out replies of 30 dialogues, 5 with a generated reply, context budget 64 tokens" in text
    assert "2 left out as longer than the model takes" in text
    assert "400 resamples by dialogue" in text
    assert "strategy (4), control (1), tuning (2)" in text
    assert "2 seeds" in explanation(experiment[0])


def test_the_terminal_fits_eighty_columns(budgets, single, experiment, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for values, _ in (budgets, single, experiment):
        values = values | {"warnings": [f"warning number {i}" for i in range(7)]}
        report.print_table(values)
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "warning: warning number 0"
        assert [line for line in lines if line.startswith("warning")][-1] == "warning: 2 more; the report has them"
        table = [line for line in lines if re.match(r" *(model|base|tuned) ", line)]
        assert len(table) >= len(values["results"]) - 3
        assert max(map(len, table)) <= 80
        assert not any("…" in line for line in table)
        assert lines[-1].startswith("In short")
    assert [line for line in lines if line in ("small", "large")] == ["small", "large"]


def test_a_terminal_shows_only_the_outcome_of_many_comparisons(single):
    values = copy.deepcopy(single[0])
    strategies = [one for one in values["comparisons"] if one["family"] == "strategy"]
    assert main_sentences(values)[:4] == compared(values, "strategy")
    values["comparisons"] += strategies * 3
    assert main_sentences(values) == compared(values, "control") + verdicts(values)


def test_the_pareto_front():
    points = [(10, 5.0), (20, 4.0), (20, 4.5), (30, 4.0), (40, 3.0), (50, 3.5), (10, 5.0)]
    assert plots.pareto_front(points) == [(10, 5.0), (20, 4.0), (40, 3.0)]
    assert plots.pareto_front([]) == []


def test_plots_show_every_system_and_the_front(budgets, single):
    [axes] = plots.plot_pareto(budgets[0]).axes
    drawn = {(line.get_label(), tuple(point)) for line in axes.lines for point in line.get_xydata()}
    shown = [one for one in budgets[0]["results"] if one["model"] == "tuned" and one["strategy"] != "shuffled"]
    assert len(shown) == 8
    for one in shown:
        assert (
            one["strategy"],
            tuple(one["metrics"][name]["value"] for name in ("prompt_tokens", "perplexity")),
        ) in drawn
    legend = {text.get_text() for text in axes.figure.legends[0].get_texts()}
    assert legend == {"last", "full", "recent", "summary", "front"}
    [front] = [line for line in axes.lines if line.get_label() == "front"]
    results = [result["metrics"] for result in budgets[0]["results"] if result["model"] == "tuned"]
    every = [(one["prompt_tokens"]["value"], one["perplexity"]["value"]) for one in results]
    assert all(any(c <= cost and v <= value for c, v in front.get_xydata()) for cost, value in every)
    [axes] = plots.plot_budgets(budgets[0]).axes
    assert {line.get_label() for line in axes.lines if line.get_label()[0] != "_"} == {
        "recent", "summary", "shuffled", "last", "full",
    }  # fmt: skip
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["16", "64", "256"]
    assert [axes.get_title() for axes in plots.plot_strategies(single[0]).axes] == ["base", "tuned"]
    panels = plots.plot_depth(budgets[0]).axes
    assert [axes.get_title() for axes in panels] == ["16 tokens", "64 tokens", "256 tokens"]
    assert [tick.get_text() for tick in panels[-1].get_xticklabels()] == ["0 to 11\n(15)", "24 to 47\n(15)"]
    probed = plots.plot_probe(single[0]).axes[0]
    assert [tick.get_text() for tick in probed.get_yticklabels()] == ["full", "recent", "summary", "shuffled", "last"]
    marks = [line.get_xdata()[0] for line in probed.lines if line.get_marker() == "|" and len(line.get_xdata())]
    assert marks == [75] * 5


def test_drawing_leaves_the_settings_of_matplotlib_alone(budgets):
    matplotlib = pytest.importorskip("matplotlib")
    before = dict(matplotlib.rcParams)
    drawn = plots.svg(plots.plot_budgets(budgets[0]), 'a "title"')
    assert dict(matplotlib.rcParams) == before
    assert 'aria-label="a &quot;title&quot;"' in drawn
    assert "currentColor" in drawn
    assert "context budget (tokens)" in drawn  # as text, not as outlines


def test_seeds_are_dots_in_the_plots_of_an_experiment(experiment):
    values = experiment[0]
    seeds = {entry["value"] for entry in values["seeds"] if entry["variant"] == "small"}
    assert len(seeds) == 4
    [axes] = plots.plot_strategies(values, "small").axes
    dots = {line.get_xdata()[0] for line in axes.lines if line.get_marker() == "."}
    assert dots == seeds
    titles = [plot.title for own in plots.all_plots(values, {"small": [LOG, LOG]}).values() for plot in own]
    assert titles == [
        "small: Perplexity by strategy", "small: Quality against cost", "small: Perplexity by depth",
        "small: Planted facts", "small: Training", "large: Perplexity by strategy", "large: Quality against cost",
        "large: Perplexity by depth", "large: Planted facts",
    ]  # fmt: skip


def test_markdown_has_the_tables_sentences_and_warnings(tmp_path, experiment, budgets):
    for values, rows in (experiment, budgets):
        values = values | {"warnings": ["read this | first"]}
        report.write_report(tmp_path, "Title", "About it", values, rows)
        text = (tmp_path / "report.md").read_text()
        tables = re.findall(r"(?:^\|.*\n)+", text, re.M)
        assert len(tables) >= 5
        for table in tables:
            counts = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
            assert len(counts) == 1, table
        assert all(f"- {line}\n" in text for line in sentences(values))
        assert "> **Warning:** read this | first" in text
        assert text.index("**Warning:**") < text.index("## Results")
    assert "| tuned | **summary**" not in text
    assert re.search(r"^\| tuned \| summary \| 256 \| \*\*\d+\.\d \[.*\] \+\*\* \|", text, re.M)


def test_a_cell_cannot_break_a_markdown_table():
    table = main_table({"results": [], "budgets": [], "comparisons": [], "baseline": "recent"}, "")
    table.columns[0] = "one | two\nthree"
    assert markdown(table)[0] == "| one \\| two three | context |"


def test_a_metric_added_in_one_place_stands_in_metrics_tables_and_report(tmp_path, monkeypatch):

    def questions(rows):
        return mean([100.0 * row["reply"].endswith("?") for row in rows])

    monkeypatch.setitem(METRICS, "questions", MetricEntry("questions", "questions %", "%", "", "reply", questions))
    _, rows = copy.deepcopy(report_data.single())
    for row in rows:
        if row["reply"] is not None:
            row["reply"] = "And you?"
    values = analyse(rows, "recent", 200, 0)
    measured = [result["metrics"]["questions"] for result in values["results"] if result["model"] == "tuned"]
    assert measured[0]["value"] == 100
    assert "questions %" in result_table(values, "").columns
    report.write_report(tmp_path, "run", "", values, rows, {"": [LOG]})
    assert "questions %" in (tmp_path / "report.html").read_text()
    assert "questions %" in (tmp_path / "report.md").read_text()


def test_replies_without_likelihoods_are_compared_by_their_overlap():
    metrics, rows = copy.deepcopy(report_data.served())
    table = main_table(metrics, "")
    assert table.columns[:3] == ["model", "context", "ROUGE-L"]
    assert [row[1] for row in texts(table)] == ["summary", "recent", "shuffled", "last"]  # the best first
    assert bold(table) == ["served summary"]
    marks = {row[1]: row[2].partition("]")[2] for row in texts(table)}
    assert marks == {"summary": " +", "recent": "", "shuffled": "", "last": " -"}  # none for controls
    assert "perplexity" not in " ".join(result_table(metrics, "").columns)
    assert cost_table(metrics, "").columns == ["model", "context", "prompt tokens", "s per reply", "reply tokens"]
    last, summary = compared(metrics, "strategy")
    amount = r"\d+\.\d points"
    lower = rf"Served last has {amount} lower ROUGE-L than served recent \[{amount}, {amount}\], Holm p = 0\.\d+"
    assert re.fullmatch(rf"{lower}: it is worse\.", last)
    assert re.match(rf"Served summary has {amount} higher ROUGE-L than served recent \[.*: it is better\.", summary)
    [control] = compared(metrics, "control")
    assert re.match(rf"The served model reads the summary: another dialogue's lowers ROUGE-L by {amount} \[\d", control)
    assert verdicts(metrics) == ["In short, the served model against recent by ROUGE-L: summary is better."]
    assert not any("does not show that it matters" in line for line in metrics["warnings"])
    [strategies, facts] = plots.all_plots(metrics, {})[""]
    assert (strategies.title, facts.title) == ("ROUGE-L by strategy", "Planted facts")
    assert "higher ROUGE-L is better" in explanation(metrics)
    few = [row for row in rows if row["dialogue"] in ("d0", "d1", "d2")]
    for row in few:
        if row["strategy"] == "summary" and row["dialogue"] == "d0":
            row["reply"] = "nobody"
    unshown = compared(analyse(few, "recent", 400, 0), "strategy")[1]
    worse, better = map(
        float, re.search(r"at most (\d+\.\d) points worse, at most (\d+\.\d) points better", unshown).groups()
    )
    assert worse > better > 0
