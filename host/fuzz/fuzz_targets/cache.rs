#![no_main]

use stillhouse_fuzz::looks::state::CACHE;

stillhouse_fuzz::target!(CACHE.whole, |input| CACHE.look(input));
