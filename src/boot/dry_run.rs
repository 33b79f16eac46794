//! `--dry-run`: what a start would change, looked up on the real volume, socket and
//! accounts, and printed. Nothing is changed and nothing is run.
//!
//! Root is dropped as in a start, so that the user's part is looked at with the user's
//! rights; what only root could look at was looked at before.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::Path;

use super::user_phase::{
    defaults, home_elsewhere, make_environment, moved_from_home, password_place, working_directory,
};
use super::{Failure, Person, Start, root_phase, serve, without_root};
use crate::degradation::Degradation;
use crate::hooks;
use crate::identity::{
    Account, DropError, Linux, Root, Target, foresee_access, group_name, inherited_groups, resolve,
    supplementary,
};
use crate::server::environment::Environment;
use crate::server::password::{self, Outcome, Wanted};
use crate::server::program::Launch;
use crate::settings::{User, VolumeOwner, record};
use crate::state::Mode;
use crate::volume::{
    self, Claim, Claimed, Defaults, Standing, Verdict, VolumeError, foresee_claim, foresee_defaults,
};

/// The plan, as lines under headings.
#[derive(Default)]
struct Plan(String);

impl Plan {
    fn heading(&mut self, heading: &str) {
        self.0.push_str(&format!("{heading}\n"));
    }

    fn line(&mut self, line: impl std::fmt::Display) {
        self.0.push_str(&format!("  {line}\n"));
    }

    /// What becomes of a directory that is handed over to somebody.
    fn owners(&mut self, request: &Claim, user: &str, claimed: &Claimed) {
        let directory = request.directory.display();
        let owner = format!("{user}:{}", group_name(request.gid));
        if claimed.created {
            return self.line(format!("make {directory} for {owner}"));
        }
        let (some, all) = (claimed.foreseen.len(), claimed.checked);
        self.line(format!(
            "hand over to {owner}: {some} of {all} in {directory}"
        ));
        for path in &claimed.foreseen {
            self.line(format!("  {path}"));
        }
    }
}

/// Prints the plan; the exit code.
///
/// # Errors
/// What would end the start, too.
pub fn run(mut start: Start<'_>) -> Result<i32, Failure> {
    let mut plan = Plan::default();
    let (person, standing) = match Root::detect() {
        Some(root) => root_part(&mut start, root, &mut plan)?,
        None => (without_root(&mut start)?, None),
    };
    let account = &person.account;
    plan.heading("identity");
    plan.line(format!(
        "run as {} (uid {}), group {} (gid {})",
        account.name,
        account.uid,
        group_name(account.gid),
        account.gid
    ));
    let mut environment = make_environment(&start, &person);
    home_part(&person, &mut environment, &mut plan);
    let standing = standing.or_else(|| look_at_notebooks(&start));
    if let Some((defaults, standing)) = standing {
        notebooks_part(&mut start, &defaults, standing, &mut plan)?;
    }
    password_part(&mut start, &person, &mut environment, &mut plan)?;
    files_part(&start, &mut plan);
    hooks_part(
        "user",
        hooks::list(&start.settings.hooks.directory.join("user"))?,
        &mut plan,
    );
    variables_part(&environment, &mut plan);
    command_part(&start, &person, &mut plan);
    plan.heading("nothing was changed");
    // A reader that went away is no error.
    let _ = std::io::stdout().write_all(plan.0.as_bytes());
    Ok(0)
}

/// The defaults, and how they stand.
type Notebooks = (Defaults, Result<Standing, VolumeError>);

/// What root would do; ends with root gone. With the notebooks, if the user may not be
/// able to read them yet.
fn root_part(
    start: &mut Start<'_>,
    root: Root,
    plan: &mut Plan,
) -> Result<(Person, Option<Notebooks>), Failure> {
    let hooks = hooks::root_hooks(&start.settings.hooks.directory.join("root"));
    let hooks = hooks.map_err(|error| start.hook_failed(error))?;
    hooks_part("root", hooks, plan);
    let Some(User { name, group, home }) = start.settings.user.clone() else {
        let account = resolve("root", None, Some(Path::new("/root")))?;
        let (dropped, degradations) = root.stay(start.settings.new_privileges, &Linux)?;
        start.report.all_degraded(degradations)?;
        return Ok((Person { account, dropped }, None));
    };
    let mut account = resolve(&name, group.as_deref(), home.as_deref())?;
    if account.uid == 0 {
        return Err(DropError::ToRoot.into());
    }
    owners_part(start, &root, &mut account, plan)?;
    // The way to the volume was judged: root follows no link of the user's on it.
    let hands_over = start.settings.notebooks.owner == VolumeOwner::Chown;
    let notebooks = hands_over.then(|| look_at_notebooks(start)).flatten();
    let groups = access_part(start, &account, plan)?;
    let target = Target {
        uid: account.uid,
        gid: account.gid,
        groups,
        new_privileges: start.settings.new_privileges,
    };
    let (dropped, degradations) = root.drop(&target, &Linux)?;
    start.report.all_degraded(degradations)?;
    Ok((Person { account, dropped }, notebooks))
}

fn owners_part(
    start: &mut Start<'_>,
    root: &Root,
    account: &mut Account,
    plan: &mut Plan,
) -> Result<(), Failure> {
    let Some(directory) = start.settings.notebooks.directory.clone() else {
        return Ok(());
    };
    let policy = start.settings.notebooks.owner;
    let (uid, gid) = (account.uid, account.gid);
    let request = Claim {
        directory,
        policy,
        uid,
        gid,
    };
    let claimed = foresee_claim(root, &request, &|| start.stop_requested());
    start.go_on()?;
    let claimed = claimed?;
    plan.heading("owners");
    if let Some((uid, gid)) = claimed.adopted {
        let volume = request.directory.display();
        plan.line(format!("adopt the owner of {volume}: {uid}:{gid}"));
        account.adopt(uid, gid);
        for name in root_phase::STATE_DIRECTORIES {
            let request = Claim {
                directory: account.home.join(name),
                policy: VolumeOwner::Chown,
                uid,
                gid,
            };
            if let Ok(claimed) = foresee_claim(root, &request, &|| start.stop_requested()) {
                plan.owners(&request, &account.name, &claimed);
            }
        }
    } else if policy == VolumeOwner::Chown {
        plan.owners(&request, &account.name, &claimed);
    }
    start.report.all_degraded(claimed.degradations)
}

fn access_part(
    start: &mut Start<'_>,
    account: &Account,
    plan: &mut Plan,
) -> Result<Vec<u32>, Failure> {
    let (access, changes) = foresee_access(account, &root_phase::access_request(start));
    plan.heading("access");
    for path in &access.enabled {
        plan.line(format!("enable access to {}", path.display()));
    }
    changes.iter().for_each(|change| plan.line(change));
    let own = access.own_groups(account);
    let groups = supplementary(&own, &access.gids, &inherited_groups(&Linux)?);
    let named: Vec<String> = groups.iter().map(u32::to_string).collect();
    plan.line(format!("supplementary groups: {}", named.join(" ")));
    start.report.all_degraded(access.degradations)?;
    Ok(groups)
}

fn hooks_part(phase: &str, hooks: Vec<std::path::PathBuf>, plan: &mut Plan) {
    if hooks.is_empty() {
        return;
    }
    plan.heading(&format!(
        "{phase} hooks (what they would change is not known)"
    ));
    hooks
        .iter()
        .for_each(|hook| plan.line(format!("run {}", hook.display())));
}

fn home_part(person: &Person, environment: &mut Environment, plan: &mut Plan) {
    let base = home_elsewhere(person);
    for (name, directory) in moved_from_home(person, environment) {
        plan.line(format!(
            "{directory} cannot be written in HOME: use {}",
            base.join(directory).display()
        ));
        environment.set(name, base.join(directory));
    }
}

fn look_at_notebooks(start: &Start<'_>) -> Option<Notebooks> {
    let defaults = defaults(start)?;
    let standing = foresee_defaults(&defaults);
    Some((defaults, standing))
}

fn notebooks_part(
    start: &mut Start<'_>,
    defaults: &Defaults,
    standing: Result<Standing, VolumeError>,
    plan: &mut Plan,
) -> Result<(), Failure> {
    let standing = match standing {
        Ok(standing) => standing,
        // As in a start: the server goes on without them.
        Err(error) => {
            let error = super::causes(&error);
            return start.report.degraded(Degradation::note(error));
        }
    };
    plan.heading("notebooks");
    for action in &standing.files {
        plan.line(action);
    }
    let writes = |verdict| {
        use Verdict::{Adopt, Beside, Install, Replace};
        matches!(verdict, Install | Replace | Beside | Adopt)
    };
    if standing.files.iter().any(|action| writes(action.verdict)) {
        let manifest = defaults.volume.join(volume::MANIFEST);
        plan.line(format!("record them in {}", manifest.display()));
    }
    Ok(())
}

fn password_part(
    start: &mut Start<'_>,
    person: &Person,
    environment: &mut Environment,
    plan: &mut Plan,
) -> Result<(), Failure> {
    let wanted = std::mem::replace(&mut start.password, Wanted::Nothing);
    let place = password_place(start, person, environment);
    let foreseen = password::foresee(&person.dropped, &place, &wanted)?;
    plan.heading("password");
    match foreseen.outcome {
        Outcome::Changed => plan.line(format!("write its hash to {}", place.file().display())),
        Outcome::Unchanged => plan.line("leave it as it is"),
        Outcome::NotSet(degradation) => start.report.degraded(degradation)?,
    }
    if let Some((name, value)) = foreseen.variable {
        environment.set(name, value);
    }
    Ok(())
}

/// What a start writes besides.
fn files_part(start: &Start<'_>, plan: &mut Plan) {
    let state = start.settings.state_dir.display();
    plan.heading("files");
    plan.line(format!(
        "write {state}/state.json and {state}/settings/entrypoint.toml"
    ));
    let server = matches!(start.launch, Launch::Server(_));
    if let Some(path) = start.settings.log.server_file.as_ref().filter(|_| server) {
        plan.line(format!("append to {}", path.display()));
    }
}

/// The variables that differ from those of this process. Values are shown where they
/// are ours.
fn variables_part(environment: &Environment, plan: &mut Plan) {
    let before: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
    plan.heading("variables");
    for (name, value) in environment.iter() {
        if before.get(name).is_none_or(|known| known != value) {
            let (name, value) = (name.to_string_lossy(), value.to_string_lossy());
            plan.line(format!("set {name}={value}"));
        }
    }
    for name in before.keys() {
        if !environment.iter().any(|(kept, _)| kept == name) {
            plan.line(format!("remove {}", name.to_string_lossy()));
        }
    }
}

fn command_part(start: &Start<'_>, person: &Person, plan: &mut Plan) {
    plan.heading(match start.mode() {
        Mode::Lab | Mode::Hub => "server",
        Mode::Command => "command",
        Mode::Idle => "no command: wait for a signal",
    });
    let (program, args) = match &start.launch {
        Launch::Server(server) => (
            serve::in_venv(start, server),
            serve::arguments(start, person, server).args,
        ),
        Launch::Command(words) => (words[0].clone(), words[1..].to_vec()), // invariant: not empty
        Launch::Idle => return,
    };
    if let (Launch::Server(_), Some(directory)) = (&start.launch, working_directory(start)) {
        plan.line(format!("in {}", directory.display()));
    }
    let words = std::iter::once(&program).chain(&args);
    let words: Vec<String> = words.map(|word| quoted(word)).collect();
    plan.line(words.join(" "));
}

/// A word as a shell would take it, without a secret that it may name.
fn quoted(word: &OsStr) -> String {
    let text = record::masked(&word.to_string_lossy());
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}
