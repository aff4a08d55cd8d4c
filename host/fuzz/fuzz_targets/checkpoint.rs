#![no_main]

use stillhouse_fuzz::looks::state::CHECKPOINT;

stillhouse_fuzz::target!(CHECKPOINT.whole, |input| CHECKPOINT.look(input));
