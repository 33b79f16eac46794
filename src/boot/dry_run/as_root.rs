//! The part of a dry run that needs root.

use std::path::Path;

use crate::boot::dry_run::plan::DryRunPlan;
use crate::boot::dry_run::{NotebooksPreview, hooks_part, preview_notebooks};
use crate::boot::{Failure, ServerUser, Start, account, check, root_phase};
use crate::group_access::Entry;
use crate::group_access::preview_access;
use crate::hooks;
use crate::identity::{Account, Linux, Root, Target, resolve};
use crate::settings::{VolumeOwner, saved};
use crate::state;
use crate::volume::{Claim, Rights, hand_over_mounts, preview_claim};

/// Previews the root phase, then drops root. Returns the preview of the notebooks, too, if
/// the user may not be able to read them yet.
pub(super) fn preview_root_phase(
    start: &mut Start<'_>,
    root: Root,
    plan: &mut DryRunPlan,
) -> Result<(ServerUser, Option<NotebooksPreview>), Failure> {
    let directory = start.settings.hooks.directory.join("root");
    let hooks = hooks::root_hooks(&directory);
    let hooks = hooks.map_err(|error| start.hook_failed(error))?;
    hooks_part("root", hooks, plan);
    hooks::warn_of_non_hooks(&directory);
    let named = check::account(start.settings).map_err(Failure::Settings)?;
    let Some(mut account) = named else {
        let account = resolve("root", None, Some(Path::new("/root")))?;
        state_part(start, &root, &account, plan)?;
        let (dropped, degradations) = root.stay(start.settings.new_privileges, &Linux)?;
        start.report.all_degraded(degradations)?;
        return Ok((ServerUser { account, dropped }, None));
    };
    account_part(start, &root, &mut account, plan)?;
    owners_part(start, &root, &mut account, plan)?;
    let mut handed = root_phase::hand_over_home(start, &root, &account, false);
    handed.retain(|place| !plan.write_access.has(place));
    for directory in handed {
        plan.line(format!("hand over {}", directory.display()));
        plan.write_access.add_single(directory);
    }
    // The path to the volume is checked already: root follows no link of the user's on it.
    let settings = &start.settings.notebooks;
    let chown = matches!(settings.owner, VolumeOwner::Auto | VolumeOwner::Chown);
    let directory = settings.directory.as_ref().filter(|_| chown);
    let handed = directory.is_some_and(|directory| plan.write_access.has(directory));
    let look = || preview_notebooks(start, plan, Rights::Owner(account.uid));
    let notebooks = handed.then(look).flatten();
    start.check_stop()?;
    let groups = access_part(start, &account, plan)?;
    state_part(start, &root, &account, plan)?;
    let target = Target {
        uid: account.uid,
        gid: account.gid,
        groups,
        new_privileges: start.settings.new_privileges,
    };
    let (dropped, degradations) = root.drop(&target, &Linux)?;
    start.report.all_degraded(degradations)?;
    root_phase::report_root_parent(start)?;
    Ok((ServerUser { account, dropped }, notebooks))
}

fn entry_part(account: &Account, plan: &mut DryRunPlan) -> std::io::Result<()> {
    let Account { name, uid, gid, .. } = account;
    for path in Entry(account).preview(Path::new("/etc"))? {
        plan.line(format!("enter {name} in {} ({uid}:{gid})", path.display()));
    }
    Ok(())
}

/// Previews what is handed over in HOME to another uid than that of the image's user.
fn home_part(start: &Start<'_>, root: &Root, account: &Account, plan: &mut DryRunPlan) {
    for name in account::HOME_DIRECTORIES {
        let request = Claim {
            directory: account.home.join(name),
            policy: VolumeOwner::Chown,
            uid: account.uid,
            gid: account.gid,
        };
        if let Ok(claimed) = preview_claim(root, &request, &|| start.stop_requested()) {
            plan.owners(&request, &account.name, &claimed);
        }
    }
}

/// Previews the account of `NB_USER` and its home.
fn account_part(
    start: &mut Start<'_>,
    root: &Root,
    account: &mut Account,
    plan: &mut DryRunPlan,
) -> Result<(), Failure> {
    if !account::is_new(start) {
        if let Some(named) = account.named_after_home() {
            plan.heading("account");
            let entered = entry_part(&named, plan);
            account::take_name(account, named, entered);
        }
        return Ok(());
    }
    plan.heading("account");
    account::report_other_account(start, account)?;
    if let Err(error) = entry_part(account, plan) {
        account.in_passwd = false;
        if let Some(told) = account::no_name(account, &error) {
            start.report.degraded(told)?;
        }
    }
    if !account::is_persons_home(start) {
        home_part(start, root, account, plan);
        return Ok(());
    }
    match preview_claim(root, &account::home(account), &|| false) {
        Ok(home) if home.created => {
            plan.line(format!("make {}", account.home.display()));
            plan.write_access.add_tree(&account.home);
        }
        _ => {}
    }
    Ok(())
}

fn owners_part(
    start: &mut Start<'_>,
    root: &Root,
    account: &mut Account,
    plan: &mut DryRunPlan,
) -> Result<(), Failure> {
    let Some(directory) = start.settings.notebooks.directory.clone() else {
        return Ok(());
    };
    if account::is_in_persons_home(start, &directory) {
        return Ok(());
    }
    let policy = root_phase::policy(start, root, account)?;
    let (uid, gid) = (account.uid, account.gid);
    let request = Claim {
        directory,
        policy,
        uid,
        gid,
    };
    let claimed = preview_claim(root, &request, &|| start.stop_requested());
    start.check_stop()?;
    let claimed = claimed?;
    plan.heading("owners");
    if claimed.created {
        plan.write_access.add_tree(&request.directory);
    }
    if let Some((uid, gid)) = claimed.adopted {
        let volume = request.directory.display();
        plan.line(format!("adopt the owner of {volume}: {uid}:{gid}"));
        root_phase::report_known_owner(start, account, uid)?;
        if let Some(named) = account::adopt_ids(account, uid, gid) {
            let entered = entry_part(&named, plan);
            account::take_name(account, named, entered);
        }
        home_part(start, root, account, plan);
    } else if policy != VolumeOwner::Keep && (claimed.created || claimed.checked > 0) {
        plan.owners(&request, &account.name, &claimed);
    }
    if policy != VolumeOwner::Keep {
        let hand = root_phase::hand(&request.directory, account, false);
        for directory in hand_over_mounts(root, &hand) {
            plan.line(format!("hand over {}", directory.display()));
            plan.write_access.add_single(directory);
        }
    }
    start.report.all_degraded(claimed.degradations)
}

fn access_part(
    start: &mut Start<'_>,
    account: &Account,
    plan: &mut DryRunPlan,
) -> Result<Vec<u32>, Failure> {
    let (access, changes) = preview_access(account, &root_phase::access_request(start));
    plan.heading("access");
    for path in &access.enabled {
        plan.line(format!("enable access to {}", path.display()));
    }
    changes.iter().for_each(|change| plan.line(change));
    let groups = root_phase::supplementary_groups(start, account, access)?;
    let named: Vec<String> = groups.iter().map(u32::to_string).collect();
    plan.line(format!("supplementary groups: {}", named.join(" ")));
    Ok(groups)
}

/// Previews the record and the state directory, and whether the latter would be the user's.
fn state_part(
    start: &mut Start<'_>,
    root: &Root,
    account: &Account,
    plan: &mut DryRunPlan,
) -> Result<(), Failure> {
    let directory = &start.settings.state_dir;
    let writable = |directory: &Path| plan.write_access.writable(directory);
    let recorded = saved::check_write_as_root(&writable);
    let prepared = state::preview_prepare(root, directory, &writable);
    root_phase::note_record(start, recorded);
    match prepared {
        Ok(()) => {
            plan.write_access.add_tree(directory);
            Ok(())
        }
        Err(error) => root_phase::report_state_failure(start, account, &error),
    }
}
