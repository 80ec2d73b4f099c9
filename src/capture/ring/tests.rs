use std::{
    cell::{Cell as Plain, RefCell},
    collections::VecDeque,
    rc::Rc,
};

use proptest::{collection::vec, prelude::*};

use super::*;

/// Memory that dies after so many steps, as in a loss of power: later steps have no effect.
/// A copy in progress writes its first half.
#[derive(Clone)]
struct Mortal(Rc<Inner>);

struct Inner {
    cells: [Plain<u64>; 6],
    data: RefCell<Vec<u8>>,
    /// Steps left.
    life: Plain<u64>,
}

impl Mortal {
    fn new(capacity: usize) -> Self {
        let inner =
            Inner { cells: Default::default(), data: RefCell::new(vec![0; capacity]), life: Plain::new(u64::MAX) };
        Self(Rc::new(inner))
    }

    fn is_dead(&self) -> bool {
        self.0.life.get() == 0
    }

    /// Whether the step still happens.
    fn step(&self) -> bool {
        let left = self.0.life.get();
        self.0.life.set(left.saturating_sub(1));
        left > 1
    }

    fn flip(&self, at: usize, bits: u8) {
        let mut data = self.0.data.borrow_mut();
        let len = data.len();
        data[at % len] ^= bits;
    }
}

impl Memory for Mortal {
    fn capacity(&self) -> u64 {
        self.0.data.borrow().len() as u64
    }

    fn load(&self, cell: Cell) -> u64 {
        self.step();
        self.0.cells[cell as usize].get()
    }

    fn store(&self, cell: Cell, value: u64) {
        if self.step() {
            self.0.cells[cell as usize].set(value);
        }
    }

    fn read(&self, at: u64, into: &mut [u8]) {
        self.step();
        into.copy_from_slice(&self.0.data.borrow()[at as usize..][..into.len()]);
    }

    fn write(&self, at: u64, len: usize, fill: impl FnOnce(&mut [u8])) {
        let dead = self.is_dead();
        let whole = self.step();
        let mut data = self.0.data.borrow_mut();
        let place = &mut data[at as usize..][..len];
        let mut bytes = place.to_vec();
        fill(&mut bytes);
        if whole {
            place.copy_from_slice(&bytes);
        } else if !dead {
            place[..len / 2].copy_from_slice(&bytes[..len / 2]);
        }
    }
}

/// A record that cannot be taken for another one.
fn bytes(number: u64, len: usize) -> Vec<u8> {
    number.to_le_bytes().into_iter().chain((0..).map(|n: u64| (n + number) as u8)).take(len.max(8)).collect()
}

/// What happens next to a ring.
#[derive(Clone, Debug)]
enum Act {
    Push(usize),
    Pop,
    /// Releases so many of the records that were read.
    Release(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => (0_usize..150).prop_map(Act::Push),
        1 => (0_usize..600).prop_map(Act::Push),
        4 => Just(Act::Pop),
        2 => (1_usize..6).prop_map(Act::Release),
    ];
    vec(act, 0..80)
}

fn capacities() -> impl Strategy<Value = usize> {
    (4_usize..130).prop_map(|words| words * 8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Against a plain queue as the model: sizes from nothing to too large, full rings, many laps.
    #[test]
    fn a_ring_is_a_queue(capacity in capacities(), acts in acts()) {
        let memory = Mortal::new(capacity);
        let mut producer = Producer::new(memory.clone());
        let mut consumer = Consumer::new(memory.clone());
        let mut releaser = Releaser::new(memory.clone());
        let (mut model, mut read, mut buffer) = (VecDeque::new(), VecDeque::new(), Vec::new());
        let (mut pushed, mut popped) = (0, 0);
        for act in acts {
            match act {
                Act::Push(len) => {
                    let record = bytes(pushed, len);
                    let size = size(record.len() as u64);
                    match producer.push(record.len(), |place| place.copy_from_slice(&record)) {
                        Pushed::Captured => {
                            pushed += 1;
                            model.push_back(record);
                        }
                        Pushed::TooLarge => prop_assert!(size > capacity as u64 / 2),
                        Pushed::Full => {
                            let taken = memory.load(Cell::Tail) - memory.load(Cell::Head);
                            prop_assert!(taken > 0, "an empty ring takes whatever is not too large");
                            prop_assert!(taken + 2 * size > capacity as u64, "there was room");
                        }
                    }
                }
                Act::Pop => match consumer.pop(&mut buffer) {
                    Popped::Record(end) => {
                        popped += 1;
                        prop_assert_eq!(model.pop_front(), Some(buffer.clone()));
                        read.push_back(end);
                    }
                    Popped::Empty => prop_assert!(model.is_empty()),
                    Popped::Damaged(_) => prop_assert!(false, "nothing is damaged"),
                },
                Act::Release(records) => {
                    for _ in 0..records.min(read.len()) {
                        releaser.release(read.pop_front().unwrap());
                    }
                }
            }
            prop_assert_eq!(memory.load(Cell::Pushed) - memory.load(Cell::Clicks), pushed - popped);
            let cursors = [Cell::Head, Cell::Read, Cell::Tail].map(|cell| memory.load(cell));
            prop_assert!(cursors.is_sorted() && cursors[2] - cursors[0] <= capacity as u64);
        }
    }

    /// The guarantee: what was captured and is not safe elsewhere is read by the next process, once, and nothing else.
    #[test]
    fn what_was_captured_survives_a_death_at_any_step(
        capacity in capacities(),
        acts in acts(),
        life in 1_u64..400,
        second in 1_u64..60,
    ) {
        let memory = Mortal::new(capacity);
        memory.0.life.set(life);
        let mut producer = Producer::new(memory.clone());
        let mut consumer = Consumer::new(memory.clone());
        let mut releaser = Releaser::new(memory.clone());
        // Captured clicks that are not safe elsewhere, those read with where they end; and one that may be captured or
        // not.
        let (mut open, mut read, mut interrupted) = (VecDeque::new(), VecDeque::new(), None);
        let (mut known, mut number, mut buffer) = (0, 0, Vec::new());
        for act in acts {
            if memory.is_dead() {
                break;
            }
            match act {
                Act::Push(len) => {
                    let record = bytes(number, len);
                    let captured = producer.push(record.len(), |place| place.copy_from_slice(&record));
                    if memory.is_dead() {
                        interrupted = Some(record);
                    } else if captured == Pushed::Captured {
                        number += 1;
                        open.push_back(record);
                    }
                }
                Act::Pop => if let Popped::Record(end) = consumer.pop(&mut buffer) {
                    read.push_back(end);
                },
                Act::Release(records) => for _ in 0..records.min(read.len()) {
                    // Safe elsewhere first, then released: the journal's order.
                    known = read.pop_front().unwrap();
                    open.pop_front();
                    releaser.release(known);
                    if memory.is_dead() {
                        break;
                    }
                },
            }
        }
        // The next process, which dies while it takes over; and the one after it.
        memory.0.life.set(second);
        prop_assert!(take_over(memory.clone(), known).is_some());
        memory.0.life.set(u64::MAX);
        let (mut consumer, mut releaser, found) = take_over(memory.clone(), known).unwrap();
        prop_assert_eq!(found.lost, None);
        prop_assert_eq!(memory.load(Cell::Pushed) - memory.load(Cell::Clicks), found.clicks);
        let mut recovered = Vec::new();
        while let Popped::Record(end) = consumer.pop(&mut buffer) {
            recovered.push(buffer.clone());
            releaser.release(end);
        }
        prop_assert_eq!(recovered.len() as u64, found.clicks);
        if recovered.len() > open.len() {
            prop_assert_eq!(recovered.pop(), interrupted, "only the click that was being captured may be there, too");
        }
        prop_assert_eq!(recovered, Vec::from(open));
        prop_assert!(found.clicks == 0 || releaser.head() == found.end);
    }

    /// Bytes that were not written as a ring: every way through ends within the ring.
    #[test]
    fn a_damaged_ring_is_read_to_an_end(
        capacity in capacities(),
        acts in acts(),
        cells in vec((0_usize..6, prop_oneof![0_u64..2_000, any::<u64>(), (u64::MAX - 2_000)..=u64::MAX]), 0..4),
        flips in vec((any::<usize>(), 1_u8..), 0..6),
        zero in any::<bool>(),
        after in vec((any::<usize>(), 1_u8..), 0..6),
        known in prop_oneof![0_u64..2_000, any::<u64>()],
        forged in vec((0_u64..40, prop_oneof![0_u32..1_200, Just(SKIP)]), 0..8),
        ends in vec(prop_oneof![0_u64..1_000, any::<u64>()], 0..6),
    ) {
        let memory = Mortal::new(capacity);
        let mut producer = Producer::new(memory.clone());
        let mut consumer = Consumer::new(memory.clone());
        let mut releaser = Releaser::new(memory.clone());
        let (mut last, mut buffer) = (0, Vec::new());
        let damage = |flips: &[(usize, u8)]| flips.iter().for_each(|&(at, bits)| memory.flip(at, bits));
        for (n, act) in acts.into_iter().enumerate() {
            match act {
                Act::Push(len) => _ = producer.push(len, |place| place.fill(7)),
                Act::Pop => if let Popped::Record(end) = consumer.pop(&mut buffer) {
                    prop_assert!(buffer.len() <= capacity / 2);
                    last = end;
                },
                Act::Release(_) => releaser.release(last),
            }
            if n == 20 {
                damage(&flips);
            }
        }
        for (cell, value) in cells {
            memory.0.cells[cell].set(value);
        }
        damage(&flips);
        if zero {
            memory.0.data.borrow_mut().fill(0);
        }
        // An attacker who knows the layout.
        let head = memory.load(Cell::Head) / 8;
        for (word, len) in forged {
            let position = head.wrapping_add(word).wrapping_mul(8);
            let place = position as usize % capacity;
            memory.0.data.borrow_mut()[place..][..8].copy_from_slice(&prefix_of(position, len));
        }
        if let Some((mut consumer, mut releaser, found)) = take_over(memory.clone(), known) {
            damage(&after);
            let (mut popped, mut last) = (0, 0);
            loop {
                match consumer.pop(&mut buffer) {
                    Popped::Record(end) => last = end,
                    Popped::Damaged(_) => {}
                    Popped::Empty => break,
                }
                popped += 1;
                prop_assert!(buffer.len() <= capacity / 2 && last <= found.end);
                prop_assert!(popped <= found.clicks.max(1));
            }
            for end in ends.into_iter().map(|end| releaser.head().wrapping_add(end)).collect::<Vec<_>>() {
                releaser.release(end);
            }
            releaser.release(last);
            releaser.release(found.end);
            prop_assert_eq!(releaser.head(), found.end);
        }
    }
}

#[test]
fn a_released_record_keeps_its_bytes_and_loses_its_address() {
    let memory = Mortal::new(512);
    let (mut producer, mut consumer) = (Producer::new(memory.clone()), Consumer::new(memory.clone()));
    let mut releaser = Releaser::new(memory.clone());
    for _ in 0..2 {
        assert_eq!(producer.push(60, |place| place.fill(b'x')), Pushed::Captured);
    }
    let mut buffer = Vec::new();
    let Popped::Record(end) = consumer.pop(&mut buffer) else { panic!("a record") };
    releaser.release(end + 8);
    assert_eq!(releaser.head(), 0, "what is not read is not released");
    releaser.release(end);
    let data = memory.0.data.borrow();
    let mut wiped = [b'x'; 60];
    wiped[ADDRESS].fill(0);
    assert_eq!((&data[8..68], &data[80..140]), (&wiped[..], &[b'x'; 60][..]));
}

#[test]
fn a_reader_continues_after_damage_with_what_is_written_next() {
    let memory = Mortal::new(1_024);
    let (mut producer, mut consumer) = (Producer::new(memory.clone()), Consumer::new(memory.clone()));
    let mut buffer = Vec::new();
    for _ in 0..3 {
        assert_eq!(producer.push(20, |place| place.fill(1)), Pushed::Captured);
    }
    memory.flip(0, 1);
    assert_eq!(consumer.pop(&mut buffer), Popped::Damaged(3));
    assert_eq!(consumer.pop(&mut buffer), Popped::Empty);
    assert_eq!(producer.push(20, |place| place.fill(2)), Pushed::Captured);
    assert!(matches!(consumer.pop(&mut buffer), Popped::Record(_)));
    assert_eq!(buffer, [2; 20]);
}

/// Every interleaving of the three threads, and every value that a load may see.
mod every_interleaving {
    use loom::{
        cell::UnsafeCell,
        sync::{
            Arc,
            atomic::{AtomicU64, Ordering},
        },
        thread,
    };

    use super::*;

    /// Memory that loom checks: it fails when two threads touch the same eight bytes at once.
    struct Checked {
        cells: [AtomicU64; 6],
        words: Vec<UnsafeCell<[u8; 8]>>,
    }

    // SAFETY: not needed for data that loom checks; it panics where a race would be.
    #[allow(unsafe_code)]
    unsafe impl Sync for Checked {}

    impl Checked {
        fn new(words: usize) -> Arc<Self> {
            let cells = [(); 6].map(|()| AtomicU64::new(0));
            Arc::new(Self { cells, words: (0..words).map(|_| UnsafeCell::new([0; 8])).collect() })
        }
    }

    impl Memory for Arc<Checked> {
        fn capacity(&self) -> u64 {
            self.words.len() as u64 * 8
        }

        fn load(&self, cell: Cell) -> u64 {
            self.cells[cell as usize].load(Ordering::Acquire)
        }

        fn store(&self, cell: Cell, value: u64) {
            self.cells[cell as usize].store(value, Ordering::Release);
        }

        #[allow(unsafe_code)]
        fn read(&self, at: u64, into: &mut [u8]) {
            assert!(at.is_multiple_of(8));
            for (word, into) in self.words[at as usize / 8..].iter().zip(into.chunks_mut(8)) {
                // SAFETY: loom has checked that no thread writes meanwhile.
                word.with(|word| into.copy_from_slice(unsafe { &(&(*word))[..into.len()] }));
            }
        }

        #[allow(unsafe_code)]
        fn write(&self, at: u64, len: usize, fill: impl FnOnce(&mut [u8])) {
            assert!(at.is_multiple_of(8));
            let mut bytes = vec![0; len];
            fill(&mut bytes);
            for (word, from) in self.words[at as usize / 8..].iter().zip(bytes.chunks(8)) {
                // SAFETY: loom has checked that no thread reads or writes meanwhile.
                word.with_mut(|word| unsafe { (&mut (*word))[..from.len()].copy_from_slice(from) });
            }
        }
    }

    fn explore(act: impl Fn() + Send + Sync + 'static) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(act);
    }

    /// The whole life of a ring that holds two records: three are pushed by one thread, read by a second and released
    /// by a third, so that the last one takes the place of the first.
    #[test]
    fn a_record_is_seen_whole_and_its_room_is_reused_only_after_its_release() {
        explore(|| {
            let memory = Checked::new(14);
            let mut producer = Producer::new(Arc::clone(&memory));
            let mut consumer = Consumer::new(Arc::clone(&memory));
            let mut releaser = Releaser::new(Arc::clone(&memory));
            let safe = Arc::new(AtomicU64::new(0));
            let pushing = thread::spawn(move || {
                (1..=3).filter(|n| producer.push(48, |place| place.fill(*n)) == Pushed::Captured).collect::<Vec<u8>>()
            });
            let releasing = {
                let safe = Arc::clone(&safe);
                thread::spawn(move || {
                    releaser.release(safe.load(Ordering::Acquire));
                    releaser.head()
                })
            };
            let mut read = Vec::new();
            let mut buffer = Vec::new();
            for _ in 0..2 {
                if let Popped::Record(end) = consumer.pop(&mut buffer) {
                    assert!(buffer.len() == 48 && buffer.iter().all(|byte| *byte == buffer[0]), "{buffer:?}");
                    read.push(buffer[0]);
                    consumer.note(40, [buffer[0]; 8]);
                    safe.store(end, Ordering::Release);
                }
            }
            let captured = pushing.join().unwrap();
            let head = releasing.join().unwrap();
            while let Popped::Record(_) = consumer.pop(&mut buffer) {
                read.push(buffer[0]);
            }
            assert_eq!(read, captured);
            assert!(captured.len() >= 2 && (captured.len() == 2 || head > 0));
        });
    }
}
