#![no_main]

stillhouse_fuzz::target!(stillhouse_fuzz::small, stillhouse_fuzz::looks::manifest);
