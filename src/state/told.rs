//! The state while it changes.

use std::sync::{Arc, Mutex, PoisonError};

use tracing::warn;

use super::{Keeper, State};

/// The state, and where it is kept; shared with the tasks.
#[derive(Clone)]
pub struct Told {
    keeper: Option<Keeper>,
    state: Arc<Mutex<State>>,
}

impl Told {
    /// Starts with this state. Without a keeper nobody is told.
    pub fn new(keeper: Option<Keeper>, state: State) -> Self {
        let told = Self {
            keeper,
            state: Arc::new(Mutex::new(state)),
        };
        told.update(|_| {});
        told
    }

    /// Changes the state, and tells it.
    pub fn update(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        if let Some(keeper) = &self.keeper
            && let Err(error) = keeper.write(&state)
        {
            warn!("the state cannot be written: {error}");
        }
    }
}
