//! What `scripts/growth` says, writes and draws.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

pub struct Grown {
    /// Of the script.
    pub pid: u32,
    table: String,
    result: Value,
    plot: String,
}

impl Grown {
    /// Measures with small numbers and with these options.
    pub fn measure(more: &[&str], program: &str) -> Self {
        let place = tempfile::tempdir().unwrap();
        let [json, svg, again] = ["json", "svg", "again"].map(|name| place.path().join(name));
        let run = |svg: &Path, options: &[&str]| {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/growth");
            let mut command = Command::new(script);
            command.args(options).arg("--json").arg(&json);
            command.arg("--svg").arg(svg);
            command.stdin(Stdio::null()).stdout(Stdio::piped());
            let child = command.stderr(Stdio::piped()).spawn().unwrap();
            let pid = child.id();
            let output = child.wait_with_output().unwrap();
            let told = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{told}");
            (pid, String::from_utf8(output.stdout).unwrap())
        };
        let options = [&["--small", "--program", program], more].concat();
        let (pid, table) = run(&svg, &options);
        let plot = fs::read_to_string(&svg).unwrap();
        let (_, drawn) = run(&again, &["--draw"]);
        assert_eq!(drawn, table, "drawn again");
        assert_eq!(fs::read_to_string(&again).unwrap(), plot, "drawn again");
        Self {
            pid,
            table,
            result: serde_json::from_slice(&fs::read(&json).unwrap()).unwrap(),
            plot,
        }
    }

    /// The series by name, with how many sizes and whether with memory: all of them, in
    /// the figures, the table and the plot.
    pub fn assert_has(&self, series: &[(&str, usize, bool)]) {
        let found = self.result["series"].as_array().unwrap();
        let names: Vec<&str> = found.iter().map(|each| text(&each["name"])).collect();
        let wanted: Vec<&str> = series.iter().map(|each| each.0).collect();
        assert_eq!(names, wanted);
        assert!(self.result["machine"]["processors"].as_u64() > Some(0));
        assert!(text(&self.result["versions"]["ours"]).starts_with("ai-lab-entrypoint "));
        for (each, (name, sizes, memory)) in found.iter().zip(series) {
            let points = each["points"].as_array().unwrap();
            assert_eq!(points.len(), *sizes, "{name}");
            for point in points {
                assert!(positive(&point["this"]), "{name}: {point}");
                assert!(positive(&point["peer"]), "{name}: {point}");
                assert_eq!(positive(&point["memory"]), *memory, "{name}: {point}");
                let runs = point["all"].as_array().unwrap().len() as u64;
                assert_eq!(point["runs"].as_u64(), Some(runs), "{name}: {point}");
            }
            let row = format!("| {name}; peer: `{}` | ", text(&each["peer"]));
            assert!(self.table.contains(&row), "{row}: {}", self.table);
            let growth = self.table.lines().filter(|line| line.starts_with(&row));
            assert_eq!(growth.count(), 1, "{row}: {}", self.table);
        }
        let rows = self.table.lines().filter(|line| line.starts_with("| "));
        let sizes: usize = series.iter().map(|each| each.1).sum();
        // Two heads, and how much each grows between the two largest sizes.
        assert_eq!(rows.count(), 2 + sizes + series.len(), "{}", self.table);
        let texts = texts(&self.plot);
        for name in wanted {
            assert!(texts.iter().any(|text| text == name), "{name}: {texts:?}");
        }
        // Ours, the peer's, and what linear would be.
        assert_eq!(self.plot.matches("<polyline ").count(), 3 * series.len());
        assert!(!self.plot.contains("nan"), "{}", self.plot);
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn positive(value: &Value) -> bool {
    value.as_f64().is_some_and(|value| value > 0.0)
}

/// The words in a plot, which must be well-formed.
pub fn texts(svg: &str) -> Vec<String> {
    let code = "import sys, xml.dom.minidom as dom\n\
                page = dom.parse(sys.stdin.buffer)\n\
                assert page.documentElement.tagName == 'svg'\n\
                for text in page.getElementsByTagName('text'): print(text.firstChild.data)";
    let mut python = Command::new("python3");
    python.args(["-c", code]).stdin(Stdio::piped());
    let mut child = python.stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(svg.as_bytes()).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "not well-formed: {svg}");
    let texts = String::from_utf8(output.stdout).unwrap();
    texts.lines().map(str::to_owned).collect()
}
