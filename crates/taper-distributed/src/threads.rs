//! Ranks that are threads of one process.

use crate::{Communicator, DistributedError, Exchange};
use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard,
        mpsc::{Receiver, Sender, channel},
    },
};

/// A rank that is a thread of one process. It serves tests; for speed, use one rank with more threads.
#[derive(Debug)]
pub struct Threads {
    rank: usize,
    gathered: Line<f64>,
    exchanged: Line<f32>,
}

/// Channels to and from every rank, this rank included.
#[derive(Debug)]
struct Line<T> {
    to: Vec<Sender<Vec<T>>>,
    from: Mutex<Vec<Receiver<Vec<T>>>>,
}

impl Threads {
    /// `size` connected ranks, one for each thread.
    ///
    /// # Panics
    /// If `size` is 0.
    pub fn connected(size: usize) -> Vec<Self> {
        assert!(size > 0, "there is at least one rank");
        let lines = Line::between(size).into_iter().zip(Line::between(size)).enumerate();
        lines.map(|(rank, (gathered, exchanged))| Self { rank, gathered, exchanged }).collect()
    }

    /// A single rank.
    pub fn alone() -> Self {
        Self { rank: 0, gathered: Line::alone(), exchanged: Line::alone() }
    }
}

impl<T> Line<T> {
    fn alone() -> Self {
        let (to, from) = channel();
        Self { to: vec![to], from: Mutex::new(vec![from]) }
    }

    /// The channels of `size` ranks.
    fn between(size: usize) -> Vec<Self> {
        let mut from: Vec<Vec<Receiver<_>>> = (0..size).map(|_| Vec::new()).collect();
        let to: Vec<Vec<Sender<_>>> = (0..size)
            .map(|_| {
                let receivers = from.iter_mut();
                receivers
                    .map(|from| {
                        let (sender, receiver) = channel();
                        from.push(receiver);
                        sender
                    })
                    .collect()
            })
            .collect();
        to.into_iter().zip(from).map(|(to, from)| Self { to, from: Mutex::new(from) }).collect()
    }

    fn send(&self, rank: usize, numbers: Vec<T>) -> Result<(), DistributedError> {
        self.to[rank].send(numbers).map_err(|_| DistributedError::Ended { rank })
    }

    /// The next message of each rank.
    fn receive(&self) -> Result<Vec<Vec<T>>, DistributedError> {
        let from: MutexGuard<Vec<Receiver<Vec<T>>>> =
            self.from.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let received = from
            .iter()
            .enumerate()
            .map(|(rank, from)| from.recv().map_err(|_| DistributedError::Ended { rank }));
        received.collect()
    }
}

impl Communicator for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.gathered.to.len()
    }

    fn all_gather(&self, mine: &[f64], lens: &[usize]) -> Result<Vec<f64>, DistributedError> {
        for rank in 0..self.size() {
            self.gathered.send(rank, mine.to_vec())?;
        }
        let all = self.gathered.receive()?;
        assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), lens, "numbers of each rank");
        Ok(all.concat())
    }

    fn exchanging(&self, _: usize, work: &mut dyn FnMut(&mut dyn Exchange)) {
        work(&mut ThreadExchange { line: &self.exchanged, begun: VecDeque::new() });
    }
}

struct ThreadExchange<'a> {
    line: &'a Line<f32>,
    /// The expected lengths of each open exchange.
    begun: VecDeque<Vec<usize>>,
}

impl Exchange for ThreadExchange<'_> {
    fn begin(&mut self, to: Vec<Vec<f32>>, lens: Vec<usize>) -> Result<(), DistributedError> {
        self.begun.push_back(lens);
        to.into_iter().enumerate().try_for_each(|(rank, numbers)| self.line.send(rank, numbers))
    }

    fn end(&mut self) -> Result<Vec<Vec<f32>>, DistributedError> {
        let lens = self.begun.pop_front().ok_or(DistributedError::NothingBegun)?;
        let all = self.line.receive()?;
        assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), lens, "numbers of each rank");
        Ok(all)
    }
}
