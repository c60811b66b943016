//! Values that many states share, kept once, and steps that were taken before.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, PoisonError, RwLock};

/// Each different value once; states hold its number.
pub struct Interner<T> {
    inner: RwLock<Interned<T>>,
}

struct Interned<T> {
    numbers: HashMap<Arc<T>, u32>,
    values: Vec<Arc<T>>,
}

impl<T: Eq + Hash> Interner<T> {
    pub fn new() -> Self {
        let inner = Interned { numbers: HashMap::new(), values: Vec::new() };
        Self { inner: RwLock::new(inner) }
    }

    pub fn number(&self, value: T) -> u32 {
        let known = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(&number) = known.numbers.get(&value) {
            return number;
        }
        drop(known);
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(&number) = inner.numbers.get(&value) {
            return number;
        }
        let number = u32::try_from(inner.values.len()).expect("fewer than 2³² values");
        let value = Arc::new(value);
        inner.values.push(Arc::clone(&value));
        inner.numbers.insert(value, number);
        number
    }

    pub fn value(&self, number: u32) -> Arc<T> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&inner.values[number as usize])
    }

    pub fn len(&self) -> usize {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).values.len()
    }
}

/// What a function of `K` gave before.
pub struct Memo<K, V> {
    known: RwLock<HashMap<K, V>>,
}

impl<K: Eq + Hash + Copy, V: Copy> Memo<K, V> {
    pub fn new() -> Self {
        Self { known: RwLock::new(HashMap::new()) }
    }

    pub fn known(&self, key: &K) -> Option<V> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(key).copied()
    }

    pub fn learn(&self, key: K, value: V) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(key, value);
    }

    pub fn get(&self, key: K, find: impl FnOnce() -> V) -> V {
        self.known(&key).unwrap_or_else(|| {
            let value = find();
            self.learn(key, value);
            value
        })
    }

    pub fn len(&self) -> usize {
        self.known.read().unwrap_or_else(PoisonError::into_inner).len()
    }
}
