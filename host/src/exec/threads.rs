//! The threads that kernels run on.

/// Makes the calling thread one of the threads that kernels run on: `threads` in all, or as many as the machine has (the
/// environment's `RAYON_NUM_THREADS`, if set). The numbers do not depend on it.
///
/// From another thread each parallel loop would be handed over and waited for. Without effect where such threads are there
/// already.
pub fn use_threads(threads: Option<usize>) {
    let builder = rayon::ThreadPoolBuilder::new().use_current_thread();
    // Fails only when a pool is there already, as in a test; the work goes on with that one.
    let _ = builder.num_threads(threads.unwrap_or(0)).build_global();
}
