//! The changes of a start, and the words about them.
//!
//! A phase changes something only in [`Changes::make`], which asks for the change and for the words
//! about it in one call. A start makes the change and logs the words. A dry run makes no change and
//! adds the words to its plan. So a start does nothing that a dry run does not know.

use std::collections::BTreeMap;
use std::fmt::{Arguments, Display};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tracing::info;

use crate::identity::{Account, group_name};
use crate::sys::effects::{Effects, WriteAccess};
use crate::sys::text::shown;
use crate::volume::{Claim, Claimed};

/// A part of the plan: its place there, and its heading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Section(u8, &'static str);

impl Section {
    pub const ROOT_HOOKS: Self = Self(0, "root hooks (what they would change is not known)");
    pub const ACCOUNT: Self = Self(1, "account");
    pub const OWNERS: Self = Self(2, "owners");
    pub const ACCESS: Self = Self(3, "access");
    pub const IDENTITY: Self = Self(4, "identity");
    pub const DIRECTORY: Self = Self(5, "notebooks directory");
    pub const NOTEBOOKS: Self = Self(6, "notebooks");
    pub const PASSWORD: Self = Self(7, "password");
    pub const FILES: Self = Self(8, "files");
    pub const USER_HOOKS: Self = Self(9, "user hooks (what they would change is not known)");
    pub const VARIABLES: Self = Self(10, "variables");
    pub const SERVER: Self = Self(11, "server");
    pub const COMMAND: Self = Self(11, "command");
    pub const IDLE: Self = Self(11, "no command: wait for a signal");
}

/// Makes the changes of a start, or writes them down for a dry run.
#[derive(Debug)]
pub struct Changes {
    /// `None`: they are made.
    plan: Option<Plan>,
}

#[derive(Debug, Default)]
struct Plan {
    sections: BTreeMap<Section, Vec<String>>,
    access: WriteAccess,
}

impl Changes {
    /// Returns the changes of a start, or of a dry run.
    pub fn new(dry_run: bool) -> Self {
        Self {
            plan: dry_run.then(Plan::default),
        }
    }

    /// Makes a change and says in `words` what was done. A dry run previews the change and adds
    /// the words to a section of its plan.
    pub fn make<T>(
        &mut self,
        section: Section,
        change: impl FnOnce(Effects<'_>) -> T,
        words: impl FnOnce(&T, &mut Words<'_>),
    ) -> T {
        let outcome = change(self.effects());
        let plan = self.plan.as_mut();
        words(&outcome, &mut Words { section, plan });
        outcome
    }

    fn effects(&self) -> Effects<'_> {
        match &self.plan {
            None => Effects::Make,
            Some(plan) => Effects::Preview(&plan.access),
        }
    }

    /// Logs what a start did in this process alone. A dry run says nothing.
    pub fn done(&self, words: Arguments<'_>) {
        if self.plan.is_none() {
            info!("{words}");
        }
    }

    /// Adds a line to the plan of a dry run.
    pub fn planned(&mut self, section: Section, line: impl FnOnce() -> String) {
        let plan = self.plan.as_mut();
        if plan.is_some() {
            Words { section, plan }.planned(format_args!("{}", line()));
        }
    }

    /// Adds a section to the plan, although nothing may be in it.
    pub fn open(&mut self, section: Section) {
        if let Some(plan) = &mut self.plan {
            plan.sections.entry(section).or_default();
        }
    }

    /// Reports whether this process may make files in a directory, in a dry run as after the
    /// changes so far.
    pub fn is_writable(&self, directory: &Path) -> bool {
        self.effects().check_writable(directory).is_ok()
    }

    /// Reports whether a directory is one that a dry run's user would have been given by now.
    pub fn is_given(&self, directory: &Path) -> bool {
        self.effects().is_given(directory)
    }

    /// Returns the text of the plan; `None`: this is no dry run.
    pub fn plan(&self) -> Option<String> {
        let sections = self.plan.as_ref()?.sections.iter();
        let text = sections.map(|(section, lines)| format!("{}\n{}", section.1, lines.concat()));
        Some(text.collect::<String>() + "nothing was changed\n")
    }
}

/// Says what a change did: to the log, or to the plan of a dry run.
pub struct Words<'a> {
    section: Section,
    plan: Option<&'a mut Plan>,
}

impl Words<'_> {
    /// Reports whether the change is made.
    pub fn is_made(&self) -> bool {
        self.plan.is_none()
    }

    /// Says what was done, or what is planned.
    pub fn say(&mut self, done: Arguments<'_>, planned: Arguments<'_>) {
        self.done(done);
        self.planned(planned);
    }

    /// Logs what was done.
    pub fn done(&self, words: Arguments<'_>) {
        if self.is_made() {
            info!("{words}");
        }
    }

    /// Adds a line to the plan, escaped.
    pub fn planned(&mut self, line: Arguments<'_>) {
        if let Some(plan) = &mut self.plan {
            let lines = plan.sections.entry(self.section).or_default();
            lines.push(format!("  {}\n", shown(&line.to_string())));
        }
    }

    /// Adds a line to the plan if the change would succeed.
    pub fn planned_if(&mut self, succeeds: bool, line: Arguments<'_>) {
        if succeeds {
            self.planned(line);
        }
    }

    /// Adds some lines to the plan.
    pub fn planned_all<T: Display>(&mut self, lines: impl IntoIterator<Item = T>) {
        for line in lines {
            self.planned(format_args!("{line}"));
        }
    }

    /// Adds a directory that the user makes.
    pub fn made(&mut self, directory: &Path) {
        self.planned(format_args!("make {}", directory.display()));
        self.own(directory);
    }

    /// Adds a directory that root makes for a user, or hands over to the user.
    pub fn given(&mut self, directory: &Path, account: &Account) {
        if self.is_made() {
            return;
        }
        let shown = directory.display();
        let owner = format!("{}:{}", account.name, group_name(account.gid));
        match fs::metadata(directory).map(|data| data.uid()) {
            Ok(uid) if uid == account.uid => {}
            Ok(_) => self.planned(format_args!("hand over to {owner}: {shown}")),
            Err(_) => self.planned(format_args!("make {shown} for {owner}")),
        }
        self.own(directory);
    }

    /// Takes the content of a directory for the user's from here on.
    fn own(&mut self, directory: &Path) {
        if let Some(plan) = &mut self.plan {
            plan.access.add_tree(directory);
        }
    }

    /// Says which directories are handed over without their content.
    pub fn handed_over(&mut self, user: &str, directories: &[PathBuf]) {
        let names = directories.iter().map(|path| path.display().to_string());
        let names: Vec<String> = names.collect();
        if !names.is_empty() {
            self.done(format_args!("Handed over to {user}: {}", names.join(", ")));
        }
        for directory in directories {
            self.planned(format_args!("hand over {}", directory.display()));
            if let Some(plan) = &mut self.plan {
                plan.access.add_single(directory);
            }
        }
    }

    /// Reports whether a directory, or one above it, is handed over with its content already.
    pub fn has(&self, directory: &Path) -> bool {
        let access = self.plan.as_ref().map(|plan| &plan.access);
        access.is_some_and(|access| access.has(directory))
    }

    /// Adds what is handed over in a directory that is claimed for `user`.
    pub fn claimed(&mut self, request: &Claim, user: &str, claimed: &Claimed) {
        // Without either, the owner stays.
        if self.is_made() || !claimed.created && claimed.checked == 0 {
            return;
        }
        // Entries in it that cannot be handed over do not keep the user out of the directory.
        let top = shown(request.directory.as_os_str().as_bytes());
        let already = fs::metadata(&request.directory).is_ok_and(|data| data.uid() == request.uid);
        if claimed.created || already || claimed.would_hand_over.contains(&top) {
            self.own(&request.directory);
        }
        let directory = request.directory.display();
        let owner = format!("{user}:{}", group_name(request.gid));
        if claimed.created {
            return self.planned(format_args!("make {directory} for {owner}"));
        }
        let (some, all) = (claimed.would_hand_over.len(), claimed.checked);
        self.planned(format_args!(
            "hand over to {owner}: {some} of {all} in {directory}"
        ));
        self.planned_all(
            claimed
                .would_hand_over
                .iter()
                .map(|path| format!("  {path}")),
        );
    }
}
