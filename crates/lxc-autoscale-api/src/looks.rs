//! Questions whose answer takes a process of its own: `pct listsnapshot`, the ml daemon's reading of a configuration.
//! A few are answered at once, and a few more may wait, so that no reader can start processes as root by the hundred or
//! take all connections.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

/// How many are answered at once.
const MOST_ANSWERED: usize = 4;
/// How many may ask at a time, those that wait included: each occupies a connection meanwhile.
const MOST_ASKING: usize = 16;
/// How long a question may wait for those before it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Too many others are looking, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many others ask for what takes a process of its own; try again later")]
pub struct TooManyLooks;

/// The queue of those who look.
#[derive(Debug)]
pub struct Looks {
    asking: Semaphore,
    answered: Semaphore,
    patience: Duration,
}

impl Default for Looks {
    fn default() -> Self {
        Self::new(MOST_ANSWERED, MOST_ASKING, PATIENCE)
    }
}

/// The turn of one who looks, for as long as it is held.
#[derive(Debug)]
pub struct Turn<'a> {
    _asking: SemaphorePermit<'a>,
    _answered: SemaphorePermit<'a>,
}

impl Looks {
    /// So many are answered at once, and so many may ask at a time, each waiting no longer than this.
    pub fn new(most_answered: usize, most_asking: usize, patience: Duration) -> Self {
        Self { asking: Semaphore::new(most_asking), answered: Semaphore::new(most_answered), patience }
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// [`TooManyLooks`] if too many wait already, or the wait takes too long.
    pub async fn turn(&self) -> Result<Turn<'_>, TooManyLooks> {
        let asking = self.asking.try_acquire().map_err(|_| TooManyLooks)?;
        let answered = timeout(self.patience, self.answered.acquire()).await;
        let answered = answered.ok().and_then(Result::ok).ok_or(TooManyLooks)?;
        Ok(Turn { _asking: asking, _answered: answered })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All the turns that there are at once.
    async fn all(looks: &Looks) -> Vec<Turn<'_>> {
        let mut held = Vec::new();
        for _ in 0..MOST_ANSWERED {
            held.push(looks.turn().await.unwrap());
        }
        held
    }

    #[tokio::test]
    async fn nobody_waits_for_ever() {
        let looks = Looks { patience: Duration::ZERO, ..Looks::default() };
        let held = all(&looks).await;
        assert_eq!(looks.turn().await.unwrap_err(), TooManyLooks);
        drop(held);
        assert!(looks.turn().await.is_ok());
    }

    #[tokio::test]
    async fn a_few_wait_and_others_are_refused_at_once() {
        let looks = Looks::default();
        let held = all(&looks).await;
        let waiting = (0..MOST_ASKING).map(|_| async { looks.turn().await.map(drop) });
        let (looked, ()) = tokio::join!(futures_util::future::join_all(waiting), async { drop(held) });
        let found = looked.iter().filter(|turn| turn.is_ok()).count();
        assert_eq!(found, MOST_ASKING - MOST_ANSWERED);
    }
}
