//! Which files are being fetched at this moment: each by one thread, while others that want it wait.

use std::collections::HashSet;
use std::sync::{Condvar, Mutex, PoisonError};

use super::Kind;

/// The files that somebody is fetching.
#[derive(Default)]
pub(super) struct Claims {
    taken: Mutex<HashSet<(String, Kind)>>,
    given_back: Condvar,
}

/// The right to fetch one file; given back when it is dropped.
pub(super) struct Claim<'a> {
    claims: &'a Claims,
    file: (String, Kind),
}

impl Claims {
    /// Waits until nobody else fetches the file.
    pub(super) fn take(&self, digits: &str, kind: Kind) -> Claim<'_> {
        let file = (digits.to_owned(), kind);
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let free = self.given_back.wait_while(taken, |taken| taken.contains(&file));
        free.unwrap_or_else(PoisonError::into_inner).insert(file.clone());
        Claim { claims: self, file }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.claims.taken.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.file);
        self.claims.given_back.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    /// Of several that want one file, one at a time has it; another file, or another kind, is free meanwhile.
    #[test]
    fn one_at_a_time() {
        let claims = Claims::default();
        let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let held = claims.take("ab", Kind::Executable);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let _claim = claims.take("ab", Kind::DebugInfo);
                    most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        drop(held);
        assert_eq!(most.into_inner(), 1);
        assert!(claims.taken.lock().is_ok_and(|taken| taken.is_empty()));
    }
}
