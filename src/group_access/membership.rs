//! The groups of the group file that an account joins and leaves: a pure function makes the plan,
//! which is then applied under the system's lock.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use crate::degradation::Degradation;
use crate::group_access::group_file;
use crate::group_access::group_file::{AccountFile, Refusal};
use crate::group_access::lock::Lock;
use crate::group_access::replacement;
use crate::group_access::replacement::Replacement;
use crate::identity::account::Account;
use crate::sys::effects::Effects;

/// File in ETC that records the memberships this program added, as lines `GROUP:USER`.
pub const RECORD: &str = ".ai-lab-grants";

/// Lowest gid that the distribution does not reserve (Debian policy 9.2.2). A lower gid means
/// something else on the host than here, except 0.
const FIRST_FREE_GID: u32 = 100;

/// A path that is used by group.
#[derive(Debug, Clone)]
pub struct Want {
    /// The socket or device that the user is to have access to.
    pub path: PathBuf,
    /// The gid of its group.
    pub gid: u32,
    /// True for the Docker socket.
    pub docker: bool,
}

/// The files that a plan reads and changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Files {
    group: Vec<u8>,
    gshadow: Option<Vec<u8>>,
    record: Vec<u8>,
}

impl Files {
    fn read(etc: &Path) -> io::Result<Self> {
        let group = replacement::read(&etc.join("group"))?;
        Ok(Self {
            group: group.ok_or(io::ErrorKind::NotFound)?,
            gshadow: replacement::read(&etc.join("gshadow"))?,
            record: replacement::read(&etc.join(RECORD))?.unwrap_or_default(),
        })
    }

    /// Writes the files that differ from `old`. Prepares `group` and `gshadow` before it changes
    /// either, so if one cannot be replaced, the other stays as it is. New entries go to the record
    /// first, and old ones leave it last: after an interruption, every membership of ours is still
    /// recorded.
    fn write(&self, old: &Self, etc: &Path) -> io::Result<()> {
        let prepare = |name: &str, new: Option<&Vec<u8>>, old: Option<&Vec<u8>>, mode| {
            let new = new.filter(|_| new != old);
            new.map(|new| Replacement::prepare(&etc.join(name), new, mode))
                .transpose()
        };
        let group = prepare("group", Some(&self.group), Some(&old.group), 0o644)?;
        let (new, shadow) = (self.gshadow.as_ref(), old.gshadow.as_ref());
        let gshadow = prepare("gshadow", new, shadow, 0o640)?;
        let record = |new, old| prepare(RECORD, Some(new), Some(old), 0o600);
        let both = format_record(&parse_record(&old.record) | &parse_record(&self.record));
        let all = [record(&both, &old.record)?, group, gshadow];
        replacement::replace_all(all.into_iter().flatten().collect())?;
        record(&self.record, &both)?.map_or(Ok(()), Replacement::rename_over)
    }

    /// Lists how the files differ from `old`, as lines such as `/etc/group: + LINE`.
    ///
    /// # Errors
    /// A file that differs could not be replaced.
    fn list_changes(&self, old: &Self, etc: &Path) -> io::Result<Vec<String>> {
        let mut lines = changes(&etc.join("group"), &old.group, &self.group);
        for (name, differs) in [
            ("group", old.group != self.group),
            ("gshadow", old.gshadow != self.gshadow),
            (RECORD, old.record != self.record),
        ] {
            if differs {
                Replacement::can_prepare(&etc.join(name))?;
            }
            // A reader of the list may not be allowed to read the other files.
            if differs && name != "group" {
                lines.push(format!("{}: accordingly", etc.join(name).display()));
            }
        }
        Ok(lines)
    }
}

type Record = BTreeSet<(String, String)>;

fn parse_record(record: &[u8]) -> Record {
    let text = String::from_utf8_lossy(record);
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines
        .map(|(group, user)| (group.to_owned(), user.to_owned()))
        .collect()
}

fn format_record(record: Record) -> Vec<u8> {
    let lines = record.into_iter();
    let text: String = lines
        .map(|(group, user)| format!("{group}:{user}\n"))
        .collect();
    text.into_bytes()
}

/// Makes the plan and applies it. Takes the lock only if something changes. Also returns the reason
/// if the plan could not be applied. A preview only lists the changes.
pub fn apply_memberships(
    account: &Account,
    wants: &[Want],
    docker_group: &str,
    etc: &Path,
    effects: Effects<'_>,
) -> (MembershipPlan, Option<String>) {
    let plan = |files: &Files| plan_memberships(files, account, wants, docker_group);
    let (mut first, files) = read_and_plan(&plan, etc);
    let files = match files {
        Ok(files) => files,
        Err(why) => return (first, why),
    };
    if first.files == files {
        return (first, None);
    }
    if effects.is_preview() {
        let listed = first.files.list_changes(&files, etc);
        let failure = listed.map(|changes| first.changes = changes).err();
        return (first, failure.map(|error| error.to_string()));
    }
    let done = || -> io::Result<MembershipPlan> {
        let _lock = Lock::take(etc, &["group", "gshadow"])?;
        let files = Files::read(etc)?;
        let plan = plan(&files);
        plan.files.write(&files, etc)?;
        Ok(plan)
    };
    match done() {
        Ok(plan) => (plan, None),
        Err(error) => (first, Some(error.to_string())),
    }
}

/// Reads the files and makes the plan. If they cannot be read, plans from empty files, to give
/// warnings about the gids all the same; `Err(None)`: nothing would change.
fn read_and_plan(
    plan: &dyn Fn(&Files) -> MembershipPlan,
    etc: &Path,
) -> (MembershipPlan, Result<Files, Option<String>>) {
    match Files::read(etc) {
        Ok(files) => (plan(&files), Ok(files)),
        Err(error) => {
            let blind = plan(&Files::default());
            let missed = blind.files != Files::default();
            (blind, Err(missed.then(|| error.to_string())))
        }
    }
}

/// Returns the lines that differ: first the removed ones, then the added ones.
fn changes(path: &Path, old: &[u8], new: &[u8]) -> Vec<String> {
    let lines = |text: &[u8]| -> Vec<String> {
        let text = String::from_utf8_lossy(text);
        text.lines().map(str::to_owned).collect()
    };
    let (old, new) = (lines(old), lines(new));
    let only = |these: &[String], those: &[String], sign| {
        let missing = these.iter().filter(|line| !those.contains(line));
        let told = missing.map(|line| format!("{}: {sign} {line}", path.display()));
        told.collect::<Vec<_>>()
    };
    [only(&old, &new, '-'), only(&new, &old, '+')].concat()
}

/// The new content of the files, and what it means for the account.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct MembershipPlan {
    files: Files,
    /// In a preview: the changes of the files, for people to read.
    pub changes: Vec<String>,
    /// The wanted memberships that cannot be written to the group file.
    pub degradations: Vec<Degradation>,
    /// Users and the groups that they leave.
    pub withdrawn: Vec<(String, String)>,
    /// Gids that the account loses: of groups it leaves, and the old gid of a moved group.
    pub lost: BTreeSet<u32>,
}

/// Decides which groups `account` joins and leaves. Pure.
fn plan_memberships(
    old: &Files,
    account: &Account,
    wants: &[Want],
    docker_group: &str,
) -> MembershipPlan {
    let mut plan = MembershipPlan {
        files: old.clone(),
        ..MembershipPlan::default()
    };
    let mut record = parse_record(&old.record);
    let mut kept = BTreeSet::new();
    for want in wants {
        match plan.join(old, account, want, docker_group) {
            Ok(Some(membership)) => {
                kept.insert(membership.group.clone());
                if membership.new {
                    record.insert((membership.group, account.name.clone()));
                }
            }
            Ok(None) => {}
            Err(degradation) => plan.degradations.push(degradation),
        }
    }
    for (group, user) in record.clone() {
        if user == account.name && kept.contains(&group) {
            continue;
        }
        if user == account.name {
            let entry = group_file::entries(&old.group).find(|e| e.name == group.as_bytes());
            plan.lost.extend(entry.map(|entry| entry.gid));
        }
        let withdraw = |text: &[u8], _| group_file::withdraw(text, &group, &user);
        match plan.files.edit(withdraw) {
            Ok(true) => plan.withdrawn.push((user.clone(), group.clone())),
            Ok(false) => {}
            Err(refusal) => {
                let text = format!("{user} stays in group {group} of the group file: {refusal}");
                plan.degradations
                    .push(Degradation::new(text, "repair the file"));
                continue;
            }
        }
        record.remove(&(group, user));
    }
    plan.files.record = format_record(record);
    plan
}

/// A membership in the group file that meets a want.
struct Membership {
    group: String,
    /// True if this start adds it.
    new: bool,
}

impl MembershipPlan {
    /// Makes the account a member of the group that `want` needs. Returns `None` if the group file
    /// plays no part in it.
    fn join(
        &mut self,
        old: &Files,
        account: &Account,
        want: &Want,
        docker_group: &str,
    ) -> Result<Option<Membership>, Degradation> {
        let (path, gid, user) = (want.path.display(), want.gid, account.name.as_str());
        if account.gid == gid {
            return Ok(None);
        }
        if gid == 0 {
            self.degradations.push(Degradation::new(
                format!(
                    "{path} belongs to gid 0: {user} gets group root, with whatever that group can \
                     use in this container"
                ),
                "usual for Docker Desktop and rootless Podman; if that is too much, do not mount it",
            ));
        }
        if !account.in_passwd {
            return Ok(None);
        }
        let text = self.files.group.clone();
        let with_gid = || group_file::entries(&text).filter(|entry| entry.gid == gid);
        let name = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if let Some(entry) = with_gid().find(|entry| entry.has(user)) {
            let group = name(entry.name);
            return Ok(Some(Membership { group, new: false }));
        }
        let listed = |entry: group_file::Entry<'_>| entry.gid == gid && entry.has(user);
        if account.groups.contains(&gid) && !group_file::entries(&old.group).any(listed) {
            // The gid comes from another source than this file.
            return Ok(None);
        }
        let is_docker = |entry: &group_file::Entry<'_>| entry.name == docker_group.as_bytes();
        let group = match with_gid().find(is_docker).or_else(|| with_gid().next()) {
            None if gid == 0 => return Ok(None),
            Some(entry) if (1..FIRST_FREE_GID).contains(&gid) && !is_docker(&entry) => {
                return Err(Degradation::new(
                    format!(
                        "{path} belongs to gid {gid}, which is the system's group {} here: only \
                         the processes of this start get it, with whatever else that group can use",
                        name(entry.name)
                    ),
                    "give it a group of its own on the host, with a gid of 100 or more",
                ));
            }
            Some(entry) => name(entry.name),
            None if want.docker => docker_group.to_owned(),
            // The docker group cannot have two gids.
            None => format!("ai-lab-{gid}"),
        };
        let before = group_file::entries(&text).find(|entry| entry.name == group.as_bytes());
        let new = !before.as_ref().is_some_and(|entry| entry.has(user));
        let refused = |why: String| {
            Degradation::new(
                format!("Only the processes of this start get group {group} for {path}: {why}"),
                "repair the group file, or name another group with --docker-group",
            )
        };
        if let Some(entry) = before.filter(|entry| entry.gid != gid) {
            if [0, account.gid].contains(&entry.gid) {
                let whose = format!("its gid {} is root's or the user's own", entry.gid);
                return Err(refused(whose));
            }
            self.lost.insert(entry.gid);
        }
        self.files
            .edit(|text, file| group_file::grant(text, file, &group, gid, user))
            .map_err(|refusal| refused(refusal.to_string()))?;
        Ok(Some(Membership { group, new }))
    }
}

impl Files {
    /// Edits both files, or none. Reports whether `/etc/group` changed.
    fn edit(
        &mut self,
        edit: impl Fn(&[u8], AccountFile) -> Result<Option<Vec<u8>>, Refusal>,
    ) -> Result<bool, Refusal> {
        let group = edit(&self.group, AccountFile::Group)?;
        if let Some(text) = &self.gshadow
            && let Some(new) = edit(text, AccountFile::Gshadow)?
        {
            self.gshadow = Some(new);
        }
        let changed = group.is_some();
        self.group = group.unwrap_or(std::mem::take(&mut self.group));
        Ok(changed)
    }
}
