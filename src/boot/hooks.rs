//! The hooks of a phase: runs them, and keeps the variables that they wrote for the server.

use std::ffi::OsString;
use std::path::Path;

use tracing::error;

use crate::boot::changes::{Section, Words};
use crate::boot::check;
use crate::boot::context::{Start, timed};
use crate::boot::failure::Failure;
use crate::death::memory::KillCounter;
use crate::hooks::{HookContext, HookError, Hooks, Variables};
use crate::sys::effects::Effects;

impl Start<'_> {
    /// Runs the hooks of a phase and keeps the variables that they wrote for the server's
    /// environment.
    pub fn run_hooks(
        &mut self,
        phase: &str,
        section: Section,
        environment: &dyn Fn(&Variables) -> Vec<(OsString, OsString)>,
        run: fn(&Path, &HookContext<'_>) -> Result<Hooks, HookError>,
    ) -> Result<(), Failure> {
        let settings = &self.settings.hooks;
        let directory = settings.directory.join(phase);
        let run = |effects: Effects<'_>| {
            let surroundings = HookContext {
                limit: settings.timeout,
                environment,
                signals: self.signals,
                effects,
            };
            run(&directory, &surroundings)
        };
        let words = |hooks: &Result<Hooks, _>, words: &mut Words<'_>| {
            let hooks = hooks.iter().flat_map(|hooks| &hooks.paths);
            words.planned_all(hooks.map(|hook| format!("run {}", hook.display())));
        };
        let exists = directory.exists();
        let mut memory = exists.then(KillCounter::of_container).flatten();
        let (result, time) = timed(|| self.changes.make(section, run, words));
        self.check_stop()?;
        match result {
            Ok(hooks) => self.variables.extend(hooks.variables),
            Err(error) => {
                if let Some(kills) = memory.as_mut().and_then(KillCounter::report_new) {
                    error!("{kills}");
                }
                return Err(self.hook_failed(error));
            }
        }
        if exists {
            self.report.add_duration("hooks", time);
        }
        Ok(())
    }

    /// Converts the failure of a hook to that of the start. A hook that cannot be trusted counts
    /// as an invalid setting.
    fn hook_failed(&self, error: HookError) -> Failure {
        match error {
            HookError::Untrusted { .. } => {
                Failure::Settings(check::untrusted(self.settings, &error))
            }
            _ => error.into(),
        }
    }
}
