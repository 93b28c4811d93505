//! The MPI world: all processes that `mpirun` has started.

use mpi::{
    Count, Threading,
    datatype::PartitionMut,
    environment::Universe,
    point_to_point::{Destination, Source},
    request::{LocalScope, Request, scope},
    topology::SimpleCommunicator,
    traits::{Communicator as _, CommunicatorCollectives},
};
use std::{
    collections::VecDeque,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};
use taper_distributed::{Communicator, DistributedError, Exchange};

/// Why MPI cannot be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MpiError {
    /// It is running in this process already.
    #[error("MPI has been started in this process already; start it once, and clone `Ranks`")]
    Started,
    /// It does not support `MPI_THREAD_SERIALIZED`.
    #[error(
        "this MPI library supports calls from one thread only; use a library with MPI_THREAD_SERIALIZED"
    )]
    Threads,
}

/// The MPI world: all processes that `mpirun` has started. MPI ends when the value is dropped.
///
/// MPI ends all processes when one of them is killed. A process that ends by an error or a panic must call
/// [`abort`](Self::abort), because the others would wait for it. Dropping this value during a panic calls it.
pub struct Mpi {
    rank: usize,
    size: usize,
    /// Serializes the calls of threads.
    turn: Mutex<()>,
    _universe: Universe,
}

impl Mpi {
    /// Starts MPI in this process. All processes call this.
    ///
    /// # Errors
    /// [`MpiError`] if MPI is running already, or if it does not support `MPI_THREAD_SERIALIZED`.
    pub fn start() -> Result<Self, MpiError> {
        let (universe, threads) =
            mpi::initialize_with_threading(Threading::Serialized).ok_or(MpiError::Started)?;
        if threads < Threading::Serialized {
            return Err(MpiError::Threads);
        }
        let world = universe.world();
        let (rank, size) = (world.rank() as usize, world.size() as usize);
        Ok(Self { rank, size, turn: Mutex::new(()), _universe: universe })
    }

    /// Ends all processes at once, with this exit status.
    pub fn abort(status: i32) -> ! {
        SimpleCommunicator::world().abort(status)
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Mpi {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // MPI_Finalize would wait for the other processes, and they wait for this one.
            Self::abort(101);
        }
    }
}

impl fmt::Debug for Mpi {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "rank {} of {}", self.rank, self.size)
    }
}

/// A length as an MPI count.
///
/// # Panics
/// If there are 2³¹ numbers or more.
fn count(len: usize) -> Count {
    Count::try_from(len).expect("a message has fewer than 2³¹ numbers")
}

impl Communicator for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn all_gather(&self, mine: &[f64], lens: &[usize]) -> Result<Vec<f64>, DistributedError> {
        assert_eq!((lens.len(), lens[self.rank]), (self.size, mine.len()), "numbers of each rank");
        let counts: Vec<Count> = lens.iter().map(|&len| count(len)).collect();
        let begins = lens.iter().scan(0, |next, &len| {
            *next += len;
            Some(count(*next - len))
        });
        let begins: Vec<Count> = begins.collect();
        let mut all = vec![0.0; lens.iter().sum()];
        let _turn = self.turn();
        let mut parts = PartitionMut::new(&mut all[..], counts, begins);
        SimpleCommunicator::world().all_gather_varcount_into(mine, &mut parts);
        Ok(all)
    }

    fn exchanging(&self, most: usize, work: &mut dyn FnMut(&mut dyn Exchange)) {
        let mut buffers: Vec<Buffers> = (0..most).map(|_| Buffers::default()).collect();
        scope(|scope| {
            let unused = buffers.iter_mut();
            let mut exchange = MpiExchange { mpi: self, scope, unused, begun: VecDeque::new() };
            work(&mut exchange);
            // Failed work leaves open exchanges. MPI must not write to their buffers later.
            while exchange.end().is_ok() {}
        });
    }
}

/// The numbers sent to each rank, and received from each.
#[derive(Default)]
struct Buffers {
    to: Vec<Vec<f32>>,
    from: Vec<Vec<f32>>,
}

/// The open exchanges of a scope.
struct MpiExchange<'a, 's> {
    mpi: &'s Mpi,
    scope: &'s LocalScope<'a>,
    unused: std::slice::IterMut<'a, Buffers>,
    begun: VecDeque<Begun<'a, 's>>,
}

type Message<'a, 's> = Request<'a, [f32], &'s LocalScope<'a>>;

/// An open exchange: a message to each other rank, and a message from each.
struct Begun<'a, 's> {
    sent: Vec<Message<'a, 's>>,
    /// In order of rank, with this rank's own numbers.
    received: Vec<Received<'a, 's>>,
}

enum Received<'a, 's> {
    Own(Vec<f32>),
    Of(Message<'a, 's>),
}

impl Exchange for MpiExchange<'_, '_> {
    fn begin(&mut self, to: Vec<Vec<f32>>, lens: Vec<usize>) -> Result<(), DistributedError> {
        let rank = self.mpi.rank;
        assert_eq!([to.len(), lens.len()], [self.mpi.size; 2], "a message of and to each rank");
        let buffers = self.unused.next().expect("no more exchanges than were announced");
        *buffers = Buffers { to, from: lens.into_iter().map(|len| vec![0.0; len]).collect() };
        let Buffers { to, from } = buffers;
        let mut own = std::mem::take(&mut to[rank]);
        let _turn = self.mpi.turn();
        let world = SimpleCommunicator::world();
        let received = from.iter_mut().enumerate().map(|(other, from)| {
            if other == rank {
                return Received::Own(std::mem::take(&mut own));
            }
            let process = world.process_at_rank(count(other));
            Received::Of(process.immediate_receive_into(self.scope, &mut from[..]))
        });
        let received = received.collect();
        let sent = to.iter().enumerate().filter(|(other, _)| *other != rank);
        let sent = sent.map(|(other, to)| {
            world.process_at_rank(count(other)).immediate_send(self.scope, &to[..])
        });
        let sent = sent.collect();
        self.begun.push_back(Begun { sent, received });
        Ok(())
    }

    fn end(&mut self) -> Result<Vec<Vec<f32>>, DistributedError> {
        let Begun { sent, received } =
            self.begun.pop_front().ok_or(DistributedError::NothingBegun)?;
        let _turn = self.mpi.turn();
        let received = received.into_iter().map(|received| match received {
            Received::Own(numbers) => numbers,
            Received::Of(message) => message.wait_for_data().to_vec(),
        });
        let received = received.collect();
        sent.into_iter().for_each(|message| message.wait_without_status());
        Ok(received)
    }
}
