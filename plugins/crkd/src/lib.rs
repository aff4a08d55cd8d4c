stillhouse_plugin::export_plugin!();
