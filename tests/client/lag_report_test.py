"""lag_report.py on a small made-up result: the files it writes, and that they need no others."""

import csv
import html.parser
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as xml

SCRIPT = pathlib.Path(__file__).parents[2] / "scripts" / "lib" / "lag_report.py"
PERCENTILES = {"count": 10, "p50": 900, "p95": 1500, "p99": 2500, "p999": 40000, "max": 41000}
STAGES = ("received", "durable", "applied", "visible")


def load_result(rate):
    return {"ops": rate * 2, "ops_per_second": rate, "seconds": 2, "errors": 0,
            "errors_by_reason": {}, "latency_us": PERCENTILES}


def step(percent):
    followers = [{"id": name, "address": "h:1", "lag_us": {stage: PERCENTILES for stage in STAGES},
                  "lag_revisions": {"mean": 3.5, "max": 40}, "lag_bytes": {"mean": 512, "max": 4096},
                  "samples": 2, "missing_entries": 0, "missing_probes": 0} for name in ("n2", "n<3>")]
    return {"percent": percent, "offered_per_second": percent * 10,
            "achieved_per_second": percent * 10, "put": load_result(percent * 10), "entries": 7,
            "followers": followers,
            "errors": {"put": 0, "probe": 0, "sample": 0, "trace_gaps": 0, "leader_changed": False}}


def write_csv(path, columns, rows):
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)


def write_sample(folder, percents=(25, 90), change=lambda report: None):
    report = {"time": "2024-01-02T03:04:05Z", "version": "0.1.0", "nodes": 3,
              "machine": {"cpu": "A <fast> & cheap one", "cores": 2, "memory_bytes": 2**33,
                          "system": "Linux 6"},
              "cluster": {"nodes": 3, "leader": "n1"},
              "load": {"clients": 64, "value_bytes": 100, "key_bytes": 16, "keys": 10, "ack": "quorum",
                       "seconds_per_step": 2.0, "probes_per_second": 50.0},
              "fdatasync_us": {"p50": 300, "p99": 900, "max": 1234},
              "saturation": load_result(1000), "steps": [step(p) for p in percents]}
    change(report)
    (folder / "lag.json").write_text(json.dumps(report), encoding="utf-8")
    numbers = list(PERCENTILES.values())
    named = [f"{name}_us" if name != "count" else name for name in PERCENTILES]
    rates = ["percent", "offered_per_second", "achieved_per_second"]
    write_csv(folder / "lag-throughput.csv", [*rates, "errors", *named],
              [[p, p * 10, p * 10, 0, *numbers] for p in percents])
    write_csv(folder / "lag-percentiles.csv", [*rates, "follower", "stage", *named],
              [[p, p * 10, p * 10, follower, stage, *numbers]
               for p in percents for follower in ("n2", "n<3>") for stage in STAGES])
    write_csv(folder / "lag-time.csv",
              ["percent", "follower", "stage", "seconds", "count", "p50_us", "p99_us", "max_us"],
              [[p, follower, "applied", at, 5, 900, 2000, 40000]
               for p in percents for follower in ("n2", "n<3>") for at in (0.05, 0.15)])
    write_csv(folder / "lag-samples.csv",
              ["percent", "follower", "seconds", "revisions", "bytes", "milliseconds"],
              [[p, follower, at, revisions, revisions * 116, 1] for p in percents
               for follower in ("n2", "n<3>") for at, revisions in ((0.1, 0), (1.1, 40))])


class Page(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.ids, self.outside, self.images, self.text = [], [], 0, ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.images += tag == "svg"
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "xlink:href") and not value.startswith("#"):
                self.outside.append(value)
            if tag in ("script", "link", "iframe"):
                self.outside.append(tag)

    def handle_data(self, data):
        self.text += data


class LagReportTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def run_script(self, *arguments):
        return subprocess.run([sys.executable, "-B", SCRIPT, *arguments], check=True, text=True,
                              capture_output=True).stdout

    def page(self, **sample):
        write_sample(self.folder, **sample)
        self.run_script(self.folder)
        return (self.folder / "lag.html").read_text(encoding="utf-8")

    def test_draws_one_plot_for_each_view(self):
        page = Page(self.page())
        drawn = sorted(path.name for path in self.folder.glob("lag-*.svg"))
        self.assertEqual(drawn, ["lag-percentiles-n2.svg", "lag-percentiles-n<3>.svg",
                                 "lag-throughput.svg", "lag-time-25.svg", "lag-time-90.svg"])
        for path in self.folder.glob("lag-*.svg"):
            xml.parse(path)
        self.assertEqual(page.images, len(drawn))

    def test_the_page_needs_nothing_but_itself(self):
        text = self.page()
        page = Page(text)
        self.assertEqual(page.outside, [])
        self.assertEqual(len(page.ids), len(set(page.ids)), "ids of inlined plots collide")
        for target in re.findall(r"(?:url\(|href=['\"])#([^'\")]+)", text):
            self.assertIn(target, page.ids)

    def test_shows_machine_disk_version_and_numbers(self):
        page = Page(self.page())
        for words in ("A <fast> & cheap one", "fdatasync p50 300", "skein 0.1.0", "2024-01-02",
                      "1,000 puts/s", "n<3>"):
            self.assertIn(words, page.text)
        self.assertNotIn("class=bad", self.page())

    def test_says_what_went_wrong(self):
        def spoil(report):
            report["steps"][1]["errors"]["leader_changed"] = True
            report["steps"][1]["achieved_per_second"] = 1
            report["steps"][0]["followers"][0]["missing_probes"] = 4
        page = Page(self.page(change=spoil))
        self.assertIn("At 90 % the leader changed", page.text)
        self.assertIn("At 90 % the cluster did not keep up", page.text)
        self.assertIn("At 25 % n2 did not show 4 probes", page.text)

    def test_a_follower_without_data_is_drawn_empty(self):
        write_sample(self.folder, percents=(50,))
        for name in ("lag-time.csv", "lag-samples.csv"):
            path = self.folder / name
            path.write_text(path.read_text(encoding="utf-8").splitlines()[0] + "\n", encoding="utf-8")
        self.run_script(self.folder)
        self.assertTrue((self.folder / "lag-time-50.svg").stat().st_size > 0)

    def test_prints_a_table(self):
        write_sample(self.folder)
        table = self.run_script("--table", self.folder)
        self.assertRegex(table, r"90 %\s+900\s+0\.90 ms\s+2\.50 ms\s+n2")
        self.assertIn("saturation: 1,000 puts/s", table)


if __name__ == "__main__":
    unittest.main()
