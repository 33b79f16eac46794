//! Arrows run down only: no file of `src` imports one that leads back to it, and the table of
//! rooms in `docs/contributing.md` has every arrow between rooms, each to a row below its own.
//! `AI_LAB_WRITE_DOCS=1 cargo nextest run --test process house::` writes the table.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

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
        let targets = paths(code).iter().filter_map(|path| target(path)).collect();
        let targets: BTreeSet<String> = targets;
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

#[test]
fn the_table_of_rooms_has_every_arrow_and_they_run_down() {
    let mut rooms = Imports::new();
    for (module, targets) in imports() {
        let others = targets.iter().map(|target| room(target).to_owned());
        let others = others.filter(|target| target != room(&module));
        rooms
            .entry(room(&module).to_owned())
            .or_default()
            .extend(others);
    }
    let (order, circle) = in_order(&rooms);
    assert!(circle.is_empty(), "rooms that lead back: {circle:?}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/contributing.md");
    let page = fs::read_to_string(&path).unwrap();
    let head = "| room | what it uses |\n|---|---|\n";
    let (before, rest) = page.split_once(head).unwrap();
    let (_, after) = rest.split_once("\n\n").unwrap();
    let names = |room: &String| {
        let used = order.iter().filter(|other| rooms[room].contains(*other));
        let used: Vec<String> = used.map(|name| format!("`{name}`")).collect();
        format!("| `{room}` | {} |", used.join(", "))
    };
    let rows: Vec<String> = order.iter().map(names).collect();
    let written = format!("{before}{head}{}\n\n{after}", rows.join("\n"));
    if std::env::var_os("AI_LAB_WRITE_DOCS").is_some() {
        fs::write(&path, &written).unwrap();
    }
    let page = fs::read_to_string(&path).unwrap();
    assert!(
        page == written,
        "AI_LAB_WRITE_DOCS=1 writes the table of rooms"
    );
}
