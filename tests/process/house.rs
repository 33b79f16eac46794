//! Arrows run down only: no file of `src` imports one that leads back to it, and the table of
//! rooms in `docs/contributing.md` has every arrow between rooms, each to a row below its own.
//! `AI_LAB_WRITE_DOCS=1 cargo nextest run --test process house::` writes the table and the picture.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

type Imports = BTreeMap<String, BTreeSet<String>>;

/// The files of `src` without tests, by module: `volume::defaults::plan`.
fn modules(directory: &Path, above: &str, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if stem.ends_with("tests") || ["main", "lib", "testing"].contains(&&*stem) {
            continue;
        }
        let name = match (above, &*stem) {
            (above, "mod") => above.to_owned(),
            ("", stem) => stem.to_owned(),
            (above, stem) => format!("{above}::{stem}"),
        };
        if path.is_dir() {
            modules(&path, &name, found);
        } else {
            let text = fs::read_to_string(&path).unwrap();
            let text = text.split("#[cfg(test)]\n#[allow").next().unwrap();
            let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            let code = text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            found.insert(name, code.collect::<Vec<_>>().join("\n"));
        }
    }
}

/// The paths after `crate::`, with what is in braces one by one.
fn paths(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
        let (path, rest) = rest.split_at(end.unwrap_or(rest.len()));
        match (path.strip_suffix("::"), rest.strip_prefix('{')) {
            (Some(path), Some(names)) => {
                let (names, _) = names.split_once('}').unwrap();
                let names = names.split(',').map(str::trim);
                paths.extend(names.map(|name| format!("{path}::{name}")));
            }
            _ => paths.push(path.to_owned()),
        }
    }
    paths
}

/// The modules of its own folder that a `mod.rs` uses, other than to export their items.
fn children(name: &str, code: &str, files: &BTreeMap<String, String>) -> Vec<String> {
    let statements = code.split_inclusive(';');
    let code: String = statements
        .filter(|part| !part.contains("pub use "))
        .collect();
    let is_used = |child: &&str| {
        code.match_indices(&format!("{child}::")).any(|(at, _)| {
            let before = code[..at].chars().next_back();
            !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
        })
    };
    let prefix = format!("{name}::");
    let below = files.keys().filter_map(|file| file.strip_prefix(&prefix));
    let used = below.filter(|child| !child.contains("::")).filter(is_used);
    used.map(|child| format!("{prefix}{child}")).collect()
}

fn imports() -> Imports {
    let mut files = BTreeMap::new();
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    modules(&top, "", &mut files);
    let target = |path: &str| {
        let ends = path.match_indices("::").map(|(at, _)| &path[..at]);
        let mut candidates: Vec<&str> = ends.chain([path]).collect();
        candidates.retain(|path| files.contains_key(*path));
        candidates.last().map(|path| (*path).to_owned())
    };
    let of = |(name, code): (&String, &String)| {
        let mut paths = paths(code);
        paths.extend(children(name, code, &files));
        let targets: BTreeSet<String> = paths.iter().filter_map(|path| target(path)).collect();
        let others = targets.into_iter().filter(|target| target != name);
        (name.clone(), others.collect())
    };
    files.iter().map(of).collect()
}

fn room(module: &str) -> &str {
    module.split("::").next().unwrap()
}

/// From the top down; what is left over is in a circle.
fn in_order(imports: &Imports) -> (Vec<String>, Vec<String>) {
    let mut rest: Vec<String> = imports.keys().cloned().collect();
    let mut order = Vec::new();
    while let Some(at) = rest.iter().position(|name| {
        let imported = |other: &String| imports[other].contains(name);
        !rest.iter().any(imported)
    }) {
        order.push(rest.remove(at));
    }
    (order, rest)
}

/// A path from the top is the same wherever it stands, and is one that [`imports`] sees.
#[test]
fn a_path_begins_at_the_top_of_the_crate() {
    let mut files = BTreeMap::new();
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    modules(&top, "", &mut files);
    let relative = files
        .iter()
        .filter(|(_, code)| code.contains("use super::"));
    let relative: Vec<&String> = relative.map(|(name, _)| name).collect();
    assert!(relative.is_empty(), "{relative:?}");
}

#[test]
fn no_file_imports_one_that_leads_back_to_it() {
    let imports = imports();
    assert!(imports.len() > 80, "{}", imports.len());
    let (_, circle) = in_order(&imports);
    let left: BTreeSet<&String> = circle.iter().collect();
    let arrows = circle.iter().flat_map(|from| {
        let back = imports[from].iter().filter(|to| left.contains(to));
        back.map(move |to| format!("{from} -> {to}"))
    });
    assert!(circle.is_empty(), "{:#?}", arrows.collect::<Vec<_>>());
}

/// The rooms, each with those that it uses.
fn rooms() -> Imports {
    let mut rooms = Imports::new();
    for (module, targets) in imports() {
        let others = targets.iter().map(|target| room(target).to_owned());
        let others = others.filter(|target| target != room(&module));
        rooms
            .entry(room(&module).to_owned())
            .or_default()
            .extend(others);
    }
    rooms
}

/// Reads a page of `docs`, which `AI_LAB_WRITE_DOCS` writes first.
fn page(path: &Path, written: &str) {
    if std::env::var_os("AI_LAB_WRITE_DOCS").is_some() {
        fs::write(path, written).unwrap();
    }
    let page = fs::read_to_string(path).unwrap();
    assert!(page == written, "AI_LAB_WRITE_DOCS=1 writes {path:?}");
}

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(name)
}

#[test]
fn the_table_of_rooms_has_every_arrow_and_they_run_down() {
    let rooms = rooms();
    let (order, circle) = in_order(&rooms);
    assert!(circle.is_empty(), "rooms that lead back: {circle:?}");
    let path = docs("contributing.md");
    let text = fs::read_to_string(&path).unwrap();
    let head = "| room | what it uses |\n|---|---|\n";
    let (before, rest) = text.split_once(head).unwrap();
    let (_, after) = rest.split_once("\n\n").unwrap();
    let names = |room: &String| {
        let used = order.iter().filter(|other| rooms[room].contains(*other));
        let used: Vec<String> = used.map(|name| format!("`{name}`")).collect();
        format!("| `{room}` | {} |", used.join(", "))
    };
    let rows: Vec<String> = order.iter().map(names).collect();
    let written = format!("{before}{head}{}\n\n{after}", rows.join("\n"));
    page(&path, &written);
}

/// All rooms below a room.
fn below(rooms: &Imports, room: &str) -> BTreeSet<String> {
    let used = &rooms[room];
    let deeper = used.iter().flat_map(|used| below(rooms, used));
    used.iter().cloned().chain(deeper).collect()
}

/// The number of rows below a room.
fn height(rooms: &Imports, room: &str) -> usize {
    let heights = rooms[room].iter().map(|used| height(rooms, used) + 1);
    heights.max().unwrap_or(0)
}

const STYLE: &str = "  .page { fill: #fff } .box { fill: #e3f1e6; stroke: #57606a }
  text { fill: #1f2328 } .line { stroke: #57606a; fill: none } .tip { fill: #57606a }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117 } .box { fill: #16391f; stroke: #9198a1 }
    text { fill: #e6edf3 } .line { stroke: #9198a1 } .tip { fill: #9198a1 }
  }";

/// The picture has an arrow wherever no longer way leads down to the same room.
#[test]
fn the_picture_of_rooms_is_that_of_the_code() {
    let rooms = rooms();
    let (order, _) = in_order(&rooms);
    let top = order.iter().map(|room| height(&rooms, room)).max().unwrap();
    let arrow = |from: &String, to: &String| {
        let longer = |used: &String| below(&rooms, used).contains(to);
        rooms[from].contains(to) && !rooms[from].iter().any(longer)
    };
    let mut places: BTreeMap<&String, (usize, usize)> = BTreeMap::new();
    for row in 0..=top {
        let mut names: Vec<&String> = order.iter().collect();
        names.retain(|room| height(&rooms, room) == top - row);
        // Below those that lead here.
        names.sort_by_key(|room| {
            let above = places.iter().filter(|(from, _)| arrow(from, room));
            let middles: Vec<usize> = above.map(|(_, (x, _))| *x).collect();
            middles.iter().sum::<usize>() / middles.len().max(1)
        });
        for (column, room) in names.iter().enumerate() {
            // No arrow runs straight through a box that stands alone.
            let aside = if names.len() == 1 { 70 * (row % 2) } else { 0 };
            let x = 860 * (2 * column + 1) / (2 * names.len()) + aside;
            places.insert(room, (x, 36 + 72 * row));
        }
    }
    let height = 72 * (top + 1);
    let mut lines = vec![
        format!("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 860 {height}\" font-family=\"system-ui, sans-serif\" font-size=\"14\" role=\"img\" aria-labelledby=\"t\">"),
        "<title id=\"t\">The rooms of the source, and which room uses which</title>".to_owned(),
        format!("<style>\n{STYLE}\n</style>"),
        "<marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\"><path class=\"tip\" d=\"M0 0L8 4L0 8z\"/></marker>".to_owned(),
        format!("<rect class=\"page\" width=\"860\" height=\"{height}\"/>"),
    ];
    for (from, (x1, y1)) in &places {
        for (to, (x2, y2)) in places.iter().filter(|(to, _)| arrow(from, to)) {
            let (y1, y2) = (y1 + 15, y2 - 15);
            lines.push(format!("<path class=\"line\" marker-end=\"url(#tip)\" d=\"M{x1} {y1}L{x2} {y2}\"><title>{from} uses {to}</title></path>"));
        }
    }
    for (room, (x, y)) in &places {
        let (left, above, base) = (x - 54, y - 15, y + 5);
        lines.push(format!(
            "<rect class=\"box\" x=\"{left}\" y=\"{above}\" width=\"108\" height=\"30\" rx=\"4\"/>"
        ));
        lines.push(format!(
            "<text x=\"{x}\" y=\"{base}\" text-anchor=\"middle\">{room}</text>"
        ));
    }
    page(
        &docs("rooms.svg"),
        &format!("{}\n</svg>\n", lines.join("\n")),
    );
}

/// `Changes::make` gives a phase its effects, beside the words about them. Only the preparation of a
/// restart makes a change without it: the story of the start is over then.
#[test]
fn a_phase_makes_a_change_only_where_it_says_what_it_does() {
    let boot = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/boot");
    let mut made = BTreeSet::new();
    for entry in fs::read_dir(boot).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        // In a pattern it is only asked for.
        let values = text.split("Effects::Make").skip(1);
        if values.into_iter().any(|rest| !rest.starts_with(" =>")) {
            made.insert(path.file_name().unwrap().to_str().unwrap().to_owned());
        }
    }
    let known = ["changes.rs", "serve.rs"].map(str::to_owned);
    assert_eq!(made, known.into());
}
