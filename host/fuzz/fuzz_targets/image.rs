#![no_main]

stillhouse_fuzz::target!(stillhouse_fuzz::plugin, stillhouse_fuzz::looks::image);
