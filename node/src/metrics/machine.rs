//! Metrics of the machine, as the kernel reports them. Unknown values are left out.

use super::families::Families;
use crate::stochastic::Environment;

pub(super) fn machine(out: &mut Families, environment: &Environment) {
    let pressures = [
        ("memory", &environment.memory_full),
        ("io", &environment.io_some),
        ("cpu", &environment.cpu_some),
    ];
    let pressures = pressures.into_iter();
    out.gauges(
        "gophership_stochastic_pressure_ratio",
        "PSI: the share of the last 10 s lost to waiting, of memory all tasks', of io and cpu some task's",
        pressures.filter_map(|(name, pressure)| Some(([("resource", name)], pressure.percent()? / 100.0))),
    );
    if let Some(memory) = &environment.memory {
        out.gauge(
            "gophership_stochastic_cgroup_memory_bytes",
            "Memory of the cgroup nearest its limit, page cache included",
            memory.used as f64,
        );
        out.gauge(
            "gophership_stochastic_cgroup_memory_limit_bytes",
            "Its limit",
            memory.limit as f64,
        );
    }
}
