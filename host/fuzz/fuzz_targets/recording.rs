#![no_main]

use stillhouse_fuzz::looks::state::RECORDING;

stillhouse_fuzz::target!(RECORDING.whole, |input| RECORDING.look(input));
