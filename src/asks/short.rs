//! Short ids, which a person can type.

/// Digits and letters without those that look like another (0 and o, 1, i and l) or sound like one (u and v).
const LETTERS: &[u8; 30] = b"23456789abcdefghjkmnpqrstvwxyz";

/// How long a short id is: 729 million of them.
const LENGTH: usize = 6;

/// How many short ids are tried.
const TRIES: u64 = 1000;

/// Short ids for an ask of this id, the first one first.
pub(super) fn short_ids(id: &str) -> impl Iterator<Item = String> + use<> {
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (0..TRIES).map(move |n| letters(hash.wrapping_add(n) ^ (hash >> 32)))
}

fn letters(mut number: u64) -> String {
    let base = LETTERS.len() as u64;
    (0..LENGTH)
        .map(|_| {
            let letter = usize::try_from(number % base).unwrap_or_default();
            number /= base;
            char::from(LETTERS[letter])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn short_ids_have_no_look_alikes_and_are_the_same_for_the_same_id() {
        let some = |id: &str| short_ids(id).take(50).collect::<Vec<_>>();
        assert_eq!(some("one"), some("one"));
        assert_ne!(some("one"), some("two"));
        let all: HashSet<_> = some("one").into_iter().collect();
        assert_eq!(all.len(), 50);
        assert!(all.iter().all(|id| id.len() == 6 && !id.contains(['0', 'o', '1', 'i', 'l', 'u'])));
    }
}
