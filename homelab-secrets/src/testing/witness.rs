//! A witness in memory, and what every [`HeadWitness`] keeps to.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use crate::Error;
use crate::head::{HeadCopy, StoreHead};
use crate::store::HeadWitness;

/// Forgets the copy when dropped.
#[derive(Debug, Default)]
pub struct MemoryWitness(Mutex<Option<HeadCopy>>);

#[async_trait]
impl HeadWitness for MemoryWitness {
    async fn read(&self) -> Result<Option<HeadCopy>, Error> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    async fn write(&self, copy: &HeadCopy) -> Result<(), Error> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(copy.clone());
        Ok(())
    }
}

/// Everything that a witness promises. `witness` has no copy yet. Panics where a promise is broken.
pub async fn witness_contract(witness: &dyn HeadWitness) {
    assert_eq!(witness.read().await.expect("read"), None, "there is no copy yet");
    for sequence in [1, 2, u64::MAX] {
        let head = StoreHead { store: "ab".repeat(16), sequence, tag: "cd".repeat(16) };
        let copy = head.copy(&[7; 32]).expect("a copy");
        witness.write(&copy).await.expect("write");
        witness.write(&copy).await.expect("write again");
        assert_eq!(witness.read().await.expect("read"), Some(copy), "it comes back as it was");
    }
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn keeps_the_contract() {
        super::witness_contract(&super::MemoryWitness::default()).await;
    }
}
