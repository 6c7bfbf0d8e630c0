"""Plots and the HTML report of bench_lag.sh.

    lag_report.py FOLDER            reads lag.json and lag-*.csv there, writes lag-*.svg and lag.html
    lag_report.py --table FOLDER    only prints a summary
    lag_report.py --merge LAG DISK  prints LAG with the fdatasync times in DISK

The files come from `skein bench lag --output json --raw FOLDER`. Needs gnuplot.
"""

import csv
import html
import json
import math
import os
import re
import subprocess
import sys
import tempfile

STAGES = ("received", "durable", "applied", "visible")
STAGE_COLOURS = {"received": "#56B4E9", "durable": "#009E73", "applied": "#E69F00",
                 "visible": "#D55E00"}
FOLLOWER_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
PERCENTILE_COLOURS = (("p50", "#0072B2"), ("p95", "#009E73"), ("p99", "#E69F00"),
                      ("p999", "#D55E00"), ("max", "#999999"))
NAMES = {"p50": "p50", "p95": "p95", "p99": "p99", "p999": "p99.9", "max": "max"}

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 1000px;
       margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #ddd; }
.when { color: #666; margin-top: .2rem; }
.facts { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1.5rem 0; }
.fact { border: 1px solid #ddd; border-radius: 6px; padding: .6rem 1rem; }
.fact b { display: block; font-size: 1.4rem; } .fact span { color: #666; font-size: .85rem; }
table { border-collapse: collapse; font-size: .9rem; margin: 1rem 0; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #e5e5e5; }
th { background: #f5f5f5; } th.text, td.text { text-align: left; }
tr.first td { border-top: 2px solid #bbb; }
.scroll { overflow-x: auto; } figure { margin: 1.2rem 0; } figcaption { color: #444; }
svg { width: 100%; height: auto; } .bad { color: #b00020; font-weight: bold; }
"""


# --- reading ----------------------------------------------------------------------------------

def read_csv(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class Results:
    def __init__(self, folder):
        with open(os.path.join(folder, "lag.json"), encoding="utf-8") as file:
            self.json = json.load(file)
        self.throughput = read_csv(os.path.join(folder, "lag-throughput.csv"))
        self.percentiles = read_csv(os.path.join(folder, "lag-percentiles.csv"))
        self.time = read_csv(os.path.join(folder, "lag-time.csv"))
        self.samples = read_csv(os.path.join(folder, "lag-samples.csv"))
        self.percents = [step["percent"] for step in self.json["steps"]]
        self.followers = [one["id"] for one in self.json["steps"][0]["followers"]]


def millis(text):
    return float(text) / 1000


def decades(values):
    """The powers of ten around all positive values, at least two decades apart."""
    positive = [value for value in values if value > 0] or [1]
    low = math.floor(math.log10(min(positive)))
    high = math.ceil(math.log10(max(positive)))
    return 10.0 ** low, 10.0 ** max(high, low + 1)


def zero_decade_tics(highest):
    """Tics for an axis that is linear around 0 and logarithmic above."""
    tics, value = ["'0' 0"], 1
    while value <= max(highest, 1) * 1.01:
        tics.append(f"'{value:,}' {value}")
        value *= 10
    return "(" + ", ".join(tics) + ")"


# --- plots ------------------------------------------------------------------------------------

class Plot:
    """A gnuplot script with its data, drawn into one SVG file."""

    def __init__(self, name, title, height, width=1000):
        self.name, self.title = name, title
        self.data = []
        self.lines = [
            f"set terminal svg size {width},{height} dynamic font 'sans-serif,13' "
            "background '#ffffff' noenhanced",
            "set grid xtics ytics lt 1 lc '#cccccc' lw 0.8", "set border 3 lc '#888888'",
            "set tics nomirror textcolor '#333333'", "set key outside right top Left reverse samplen 2.5",
            "set rmargin 22", "set lmargin 11"]

    def add(self, *lines):
        self.lines += lines

    def block(self, rows):
        """Names a block of data; gnuplot gets a point that is not drawn if there is none."""
        name = f"$d{len(self.data)}"
        self.data.append("\n".join([f"{name} << END", *(rows or ["NaN NaN NaN NaN"]), "END"]))
        return name

    def draw(self, folder):
        path = os.path.join(folder, f"{self.name}.svg")
        with tempfile.TemporaryDirectory() as scratch:
            script = os.path.join(scratch, "plot.gp")
            with open(script, "w", encoding="utf-8") as file:
                file.write("\n".join([*self.data, *self.lines[:1], f"set output '{path}'",
                                      *self.lines[1:]]) + "\n")
            subprocess.run(["gnuplot", script], check=True)
        return path


def colour_of(results, follower):
    return FOLLOWER_COLOURS[results.followers.index(follower) % len(FOLLOWER_COLOURS)]


def time_panel(plot, results, percent):
    """The time from append to applied, in slices of 100 ms."""
    curves = []
    for follower in results.followers:
        rows = [f"{row['seconds']} {millis(row['p50_us'])} {millis(row['max_us'])}"
                for row in results.time if row["stage"] == "applied" and
                int(row["percent"]) == percent and row["follower"] == follower]
        block, colour = plot.block(rows), colour_of(results, follower)
        curves.append(f"{block} using 1:3 with lines lw 1 dt 3 lc '{colour}' title '{follower} slowest'")
        curves.append(f"{block} using 1:2 with lines lw 2 lc '{colour}' title '{follower} median'")
    low, high = decades([millis(row[field]) for row in results.time if row["stage"] == "applied"
                         for field in ("p50_us", "max_us")])
    plot.add("set logscale y", "set format y '%g'", f"set yrange [{low}:{high}]",
             "set ylabel 'append to applied, ms'", "plot " + ", \\\n  ".join(curves),
             "unset logscale y", "set format y")


def sample_panel(plot, results, percent, field, label, divisor):
    curves = []
    for follower in results.followers:
        rows = [f"{row['seconds']} {float(row[field]) / divisor}" for row in results.samples
                if int(row["percent"]) == percent and row["follower"] == follower]
        curves.append(f"{plot.block(rows)} using 1:2 with lines lw 1.5 "
                      f"lc '{colour_of(results, follower)}' title '{follower}'")
    highest = 10 ** math.ceil(math.log10(max(
        [float(row[field]) / divisor for row in results.samples] + [10])))
    plot.add("set nonlinear y via asinh(y) inverse sinh(y)", f"set yrange [0:{highest}]",
             f"set ytics {zero_decade_tics(highest)}", f"set ylabel '{label}'",
             "plot " + ", \\\n  ".join(curves), "unset nonlinear y", "set ytics autofreq")


def time_plot(results, percent):
    step = next(step for step in results.json["steps"] if step["percent"] == percent)
    plot = Plot(f"lag-time-{percent}",
                f"Lag against time at {percent} % of saturation, "
                f"{step['achieved_per_second']:,.0f} puts/s", 700)
    seconds = results.json["load"]["seconds_per_step"]
    plot.add(f"set multiplot layout 3,1 title '{plot.title}' font ',15'",
             f"set xrange [0:{seconds}]", "set xlabel ''")
    time_panel(plot, results, percent)
    sample_panel(plot, results, percent, "revisions", "revisions behind", 1)
    plot.add("set xlabel 'seconds'")
    sample_panel(plot, results, percent, "bytes", "KiB of log behind", 1024)
    plot.add("unset multiplot")
    return plot


def rate_axis(plot, rates):
    plot.add(f"set xrange [0:{max(rates) * 1.08}]", "set format x \"%'.0f\"", "set xlabel 'puts/s'",
             "set logscale y", "set format y '%g'")


def percentile_plot(results, follower):
    plot = Plot(f"lag-percentiles-{follower}",
                f"Lag of {follower} against the rate of puts", 460)
    mine = [row for row in results.percentiles if row["follower"] == follower]
    rate_axis(plot, [float(row["offered_per_second"]) for row in mine])
    curves = []
    for field, dash in (("p99_us", 2), ("p50_us", 1)):
        for stage in STAGES:
            rows = [f"{row['offered_per_second']} {millis(row[field])}" for row in mine
                    if row["stage"] == stage and int(row["count"]) > 0]
            curves.append(f"{plot.block(rows)} using 1:2 with linespoints lw 2 dt {dash} pt 7 ps 0.6 "
                          f"lc '{STAGE_COLOURS[stage]}' title '{stage} {field[:3]}'")
    low, high = decades([millis(row[f]) for row in mine for f in ("p50_us", "p99_us")])
    plot.add(f"set yrange [{low}:{high}]",
             "set ylabel 'time since the append on the leader, ms'", f"set title '{plot.title}' font ',15'",
             "plot " + ", \\\n  ".join(curves))
    return plot


def throughput_plot(results):
    plot = Plot("lag-throughput", "Latency of a put against throughput, open loop", 460)
    saturation = results.json["saturation"]
    rate_axis(plot, [float(row["achieved_per_second"]) for row in results.throughput]
              + [saturation["ops_per_second"]])
    curves = []
    for name, colour in reversed(PERCENTILE_COLOURS):
        rows = [f"{row['achieved_per_second']} {millis(row[name + '_us'])}"
                for row in results.throughput]
        curves.append(f"{plot.block(rows)} using 1:2 with linespoints lw 2 pt 7 ps 0.6 lc '{colour}' "
                      f"title '{NAMES[name]}'")
    for name, point in (("p99", 8), ("p50", 6)):
        rows = [f"{saturation['ops_per_second']} {saturation['latency_us'][name] / 1000}"]
        curves.append(f"{plot.block(rows)} using 1:2 with points pt {point} ps 1.2 lw 2 lc '#000000' "
                      f"title 'closed loop, {name}'")
    low, high = decades([millis(row[name + "_us"]) for row in results.throughput
                         for name, _ in PERCENTILE_COLOURS]
                        + [saturation["latency_us"]["p50"] / 1000])
    plot.add(f"set yrange [{low}:{high}]", "set ylabel 'from the intended start to the answer, ms'",
             f"set title '{plot.title}' font ',15'", "plot " + ", \\\n  ".join(curves))
    return plot


# --- the page ---------------------------------------------------------------------------------

def inline(path, number, title):
    """The SVG as part of a page: ids made unique, nothing before the element itself."""
    with open(path, encoding="utf-8") as file:
        svg = file.read()
    svg = svg[svg.index("<svg"):]
    svg = re.sub(r"\bid=(['\"])", rf"id=\1s{number}-", svg)
    svg = re.sub(r"(href=['\"]|url\()#", rf"\1#s{number}-", svg)
    label = html.escape(title, quote=True)
    svg = re.sub(r"<title>.*?</title>\s*|<desc>.*?</desc>\s*", "", svg, flags=re.DOTALL)
    return svg.replace("<svg", f"<svg role='img' aria-label=\"{label}\"", 1)


def table(headings, rows, text_columns=1):
    def cells(tag, values):
        return "".join(f"<{tag}{' class=text' if i < text_columns else ''}>{html.escape(str(value))}"
                       f"</{tag}>" for i, value in enumerate(values))
    parts = [f"<tr>{cells('th', headings)}</tr>"]
    before = None
    for row in rows:
        first = " class=first" if row[0] != before else ""
        parts.append(f"<tr{first}>{cells('td', row)}</tr>")
        before = row[0]
    return "<div class=scroll><table>" + "\n".join(parts) + "</table></div>"


def ms(micros):
    value = micros / 1000
    return f"{value:.2f}" if value < 100 else f"{value:,.0f}"


def put_table(results):
    def row(name, offered, load):
        return [name, offered, f"{load['ops_per_second']:,.0f}", f"{load['errors']:,}",
                *(ms(load["latency_us"][p]) for p in NAMES)]
    saturation = results.json["saturation"]
    rows = [row(f"closed loop, {results.json['load']['clients']} callers", "–", saturation)]
    rows += [row(f"{step['percent']} %", f"{step['offered_per_second']:,.0f}", step["put"])
             for step in results.json["steps"]]
    return table(["load", "offered/s", "achieved/s", "errors",
                  *(f"{name} ms" for name in NAMES.values())], rows)


def lag_table(results):
    rows = [[f"{step['percent']} %", follower["id"], stage,
             f"{follower['lag_us'][stage]['count']:,}",
             *(ms(follower["lag_us"][stage][p]) for p in NAMES)]
            for step in results.json["steps"] for follower in step["followers"]
            for stage in STAGES]
    return table(["load", "follower", "stage", "count", *(f"{name} ms" for name in NAMES.values())],
                 rows, 3)


def distance_table(results):
    rows = []
    for step in results.json["steps"]:
        puts = step["put"]["ops"]
        for follower in step["followers"]:
            revisions, size = follower["lag_revisions"], follower["lag_bytes"]
            rows.append([f"{step['percent']} %", follower["id"], f"{revisions['mean']:,.1f}",
                         f"{revisions['max']:,}", f"{size['mean'] / 1024:,.1f}",
                         f"{size['max'] / 1024:,.1f}", f"{step['entries']:,}",
                         f"{puts / max(step['entries'], 1):,.1f}"])
    return table(["load", "follower", "revisions, mean", "max", "KiB, mean", "max", "entries",
                  "puts per entry"], rows, 2)


def warnings(results):
    found = []
    for step in results.json["steps"]:
        errors, name = step["errors"], f"At {step['percent']} %"
        if errors["leader_changed"]:
            found.append(f"{name} the leader changed: these lags are not to be trusted.")
        for field, words in (("put", "puts failed"), ("probe", "probe operations failed"),
                             ("sample", "questions to nodes were not answered"),
                             ("trace_gaps", "gaps in the traces: some entries were not measured")):
            if errors[field]:
                found.append(f"{name} {errors[field]:,} {words}.")
        for follower in step["followers"]:
            for field, words in (("missing_entries", "entries"), ("missing_probes", "probes")):
                if follower[field]:
                    found.append(f"{name} {follower['id']} did not show {follower[field]:,} {words} "
                                 "in time; they are not in the percentiles.")
        if step["achieved_per_second"] < 0.98 * step["offered_per_second"]:
            found.append(f"{name} the cluster did not keep up with the offered rate.")
    return "".join(f"<p class=bad>{html.escape(text)}</p>" for text in found)


def facts(results):
    data = results.json
    middle = min(data["steps"], key=lambda step: abs(step["percent"] - 50))
    worst = {stage: max(follower["lag_us"][stage]["p99"] for follower in middle["followers"])
             for stage in ("applied", "visible")}
    tiles = [(f"{data['saturation']['ops_per_second']:,.0f} puts/s", "saturation, closed loop"),
             (f"{ms(middle['put']['latency_us']['p99'])} ms", f"put p99 at {middle['percent']} %"),
             (f"{ms(worst['applied'])} ms",
              f"applied lag p99 at {middle['percent']} %, slower follower"),
             (f"{ms(worst['visible'])} ms",
              f"visible lag p99 at {middle['percent']} %, slower follower")]
    return ("<div class=facts>" + "".join(
        f"<div class=fact><b>{html.escape(value)}</b><span>{html.escape(name)}</span></div>"
        for value, name in tiles) + "</div>")


def setting_table(results):
    data = results.json
    machine, load, sync = data["machine"], data["load"], data.get("fdatasync_us")
    rows = [("machine", f"{machine['cores']} cores of {machine['cpu']}, "
                        f"{machine['memory_bytes'] / 2**30:.0f} GiB, {machine['system']}"),
            ("software", f"skein {data['version']}"),
            ("cluster", f"{data['cluster']['nodes']} nodes and the load generator on this machine; "
                        f"leader {data['cluster']['leader']}"),
            ("load", f"puts of {load['key_bytes']}-byte keys ({load['keys']:,} different) and "
                     f"{load['value_bytes']}-byte values, acknowledged by {load['ack']}; open loop, "
                     f"{load['seconds_per_step']:g} s at each rate; {load['probes_per_second']:g} "
                     "probes a second")]
    if sync:
        rows.insert(1, ("disk", f"fdatasync p50 {sync['p50']:,} µs, p99 {sync['p99']:,} µs, "
                                f"max {sync['max']:,} µs"))
    return ("<table>" + "".join(f"<tr><th class=text>{name}</th><td class=text>{html.escape(text)}"
                                "</td></tr>" for name, text in rows) + "</table>")


METHOD = """
<h2>How it is measured</h2>
<p>All processes run on one host and read the same monotonic clock, so a one-way time is exact: it is
the difference of two readings, not half of a round trip. Time counts from the moment at which the
leader appends an entry to its log, before it is sent or written to disk.</p>
<ul>
<li><b>received</b>: the follower appends the entry. <b>durable</b>: the follower's disk has it.
<b>applied</b>: the follower's state includes it. Counted per entry; an entry holds all puts that
arrived while the one before it was being handled.</li>
<li><b>visible</b>: the first read of that follower, without any demand for freshness, has returned the
probe's write. It includes the answer's way back, and at most one interval between two reads.</li>
<li>Puts are offered at a fixed rate whatever the answers, and their latency counts from the time at
which they should have begun.</li>
<li>Lag in revisions and bytes is what the leader knows of a follower, sampled ten times a second.</li>
</ul>
<p>Raw data: lag.json, lag-throughput.csv, lag-percentiles.csv, lag-time.csv, lag-samples.csv.</p>
"""


def page(results, figures):
    when = results.json["time"].replace("T", " ").replace("Z", " UTC")
    drawn = {plot.name: f"<figure>{inline(path, number, plot.title)}</figure>"
             for number, (plot, path) in enumerate(figures)}

    def those(prefix):
        return "".join(figure for name, figure in drawn.items() if name.startswith(prefix))
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Replication lag of Skein</title><style>{STYLE}</style></head><body>
<h1>Replication lag</h1><p class="when">{html.escape(when)}</p>
{facts(results)}{warnings(results)}{setting_table(results)}
<h2>Lag against rate</h2>{those('lag-percentiles')}{lag_table(results)}
<h2>Latency against throughput</h2>{those('lag-throughput')}{put_table(results)}
<h2>Lag against time</h2>{those('lag-time')}
<h2>Distance</h2>{distance_table(results)}
{METHOD}</body></html>
"""


def main(folder):
    results = Results(folder)
    plots = [*(percentile_plot(results, follower) for follower in results.followers),
             throughput_plot(results), *(time_plot(results, p) for p in results.percents)]
    figures = [(plot, plot.draw(folder)) for plot in plots]
    with open(os.path.join(folder, "lag.html"), "w", encoding="utf-8") as file:
        file.write(page(results, figures))


def print_table(folder):
    data = Results(folder).json
    rows = [("LOAD", "PUTS/S", "PUT P50", "PUT P99", "FOLLOWER", "APPLIED P50", "APPLIED P99",
             "VISIBLE P50", "VISIBLE P99")]
    for step in data["steps"]:
        latency = step["put"]["latency_us"]
        for follower in step["followers"]:
            lag = follower["lag_us"]
            rows.append((f"{step['percent']} %", f"{step['achieved_per_second']:,.0f}",
                         *(f"{ms(value)} ms" for value in (latency["p50"], latency["p99"])),
                         follower["id"],
                         *(f"{ms(lag[stage][p])} ms" for stage in ("applied", "visible")
                           for p in ("p50", "p99"))))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    print(f"\nsaturation: {data['saturation']['ops_per_second']:,.0f} puts/s")


def merge(lag_path, disk_path):
    with open(lag_path, encoding="utf-8") as lag, open(disk_path, encoding="utf-8") as disk:
        print(json.dumps({**json.load(lag), "fdatasync_us": json.load(disk)}, indent=2))


if __name__ == "__main__":
    if len(sys.argv) == 2:
        main(sys.argv[1])
    elif len(sys.argv) == 3 and sys.argv[1] == "--table":
        print_table(sys.argv[2])
    elif len(sys.argv) == 4 and sys.argv[1] == "--merge":
        merge(*sys.argv[2:])
    else:
        sys.exit(__doc__)
