//! How a matrix for the run's report is named when it is emitted: `name[rows,columns]`, where rows and columns are ports. Hosts
//! that do not know this log it as any other value.

/// The name under which a matrix is emitted.
pub fn full_name(name: &str, axes: [&str; 2]) -> String {
    format!("{name}[{},{}]", axes[0], axes[1])
}

/// Name and ports of a matrix that was emitted for the report; none for other values.
///
/// ```
/// # use stillhouse_plugin::report;
/// assert_eq!(report::parse("pull[teacher,student]"), Some(("pull", ["teacher", "student"])));
/// assert_eq!(report::parse("pull"), None);
/// ```
pub fn parse(full: &str) -> Option<(&str, [&str; 2])> {
    let (name, axes) = full.strip_suffix(']')?.split_once('[')?;
    let (rows, columns) = axes.split_once(',')?;
    let is_whole = [name, rows, columns].iter().all(|part| !part.is_empty() && !part.contains(['[', ']', ',']));
    is_whole.then_some((name, [rows, columns]))
}
