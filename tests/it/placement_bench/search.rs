//! The best plan for a fleet that a long search finds: which machine does how many prompts of which kind, when everything is known
//! beforehand.

use super::Fleet;

/// Changes tried from each beginning.
const TRIES: u32 = 30_000;
/// Beginnings.
const BEGINNINGS: u64 = 6;

/// How many prompts of each kind each machine does.
type Shares = Vec<Vec<u32>>;

/// The makespan of the best plan that was found, milliseconds. Every number of prompts that it hands out can be done in that time, so
/// the true optimum is no longer.
pub fn best_plan_ms(fleet: &Fleet) -> f64 {
    (0..BEGINNINGS)
        .map(|seed| search(fleet, seed))
        .fold(f64::INFINITY, f64::min)
}

/// Milliseconds that a machine needs for its share.
fn busy_ms(fleet: &Fleet, machine: usize, share: &[u32]) -> f64 {
    let rig = &fleet.machines[machine];
    let mut total_ms = 0.0;
    let mut longest_ms = 0.0_f64;
    let mut prompts = 0;
    for (kind, count) in share.iter().enumerate() {
        if *count == 0 {
            continue;
        }
        let Some(run_ms) = fleet.run_ms(machine, kind) else {
            return f64::INFINITY;
        };
        total_ms += run_ms * f64::from(*count);
        if fleet.kinds[kind].has_model {
            total_ms += fleet.swap_ms as f64;
        }
        longest_ms = longest_ms.max(run_ms);
        prompts += u64::from(*count);
    }
    if rig.loses_every > 1 && prompts > 0 {
        // Every so many prompts one is lost after half its time; the last one is not.
        let lost = (prompts - 1) / (rig.loses_every - 1);
        total_ms += lost as f64 * longest_ms / 2.0;
        // What was loaded is gone then.
        if fleet.kinds.iter().any(|kind| kind.has_model) {
            total_ms += lost as f64 * fleet.swap_ms as f64;
        }
    }
    total_ms
}

/// The makespan first, then how busy all are together: what shortens neither is no progress.
fn worth(fleet: &Fleet, shares: &Shares) -> (f64, f64) {
    let busy = shares
        .iter()
        .enumerate()
        .map(|(machine, share)| busy_ms(fleet, machine, share));
    busy.fold((0.0, 0.0), |(most, sum), one| {
        (f64::max(most, one), sum + one)
    })
}

/// Each prompt where it ends first, the longest kinds first.
fn beginning(fleet: &Fleet, random: &mut fastrand::Rng, is_first: bool) -> Shares {
    let mut shares = vec![vec![0; fleet.kinds.len()]; fleet.machines.len()];
    let mut order: Vec<usize> = (0..fleet.kinds.len()).collect();
    order.sort_by_key(|kind| {
        std::cmp::Reverse((fleet.kinds[*kind].vram, fleet.kinds[*kind].run_ms))
    });
    if !is_first {
        random.shuffle(&mut order);
    }
    for kind in order {
        for _ in 0..fleet.kinds[kind].count {
            let ends = |machine: usize| {
                let mut share: Vec<u32> = shares[machine].clone();
                share[kind] += 1;
                busy_ms(fleet, machine, &share)
            };
            let machine = (0..fleet.machines.len())
                .min_by(|one, other| ends(*one).total_cmp(&ends(*other)))
                .unwrap();
            shares[machine][kind] += 1;
        }
    }
    shares
}

fn search(fleet: &Fleet, seed: u64) -> f64 {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut shares = beginning(fleet, &mut random, seed == 0);
    let mut now = worth(fleet, &shares);
    let mut best_ms = now.0;
    for turn in 0..TRIES {
        // Worse is taken now and then, less and less.
        let patience = 0.02 * (1.0 - f64::from(turn) / f64::from(TRIES));
        let before = shares.clone();
        for _ in 0..random.usize(1..=2) {
            let from = random.usize(0..shares.len());
            let to = random.usize(0..shares.len());
            let kind = random.usize(0..fleet.kinds.len());
            let there = shares[from][kind];
            let count = match random.u8(0..3) {
                0 => there,
                1 => there.min(1),
                _ => there.min(random.u32(1..=8)),
            };
            shares[from][kind] -= count;
            shares[to][kind] += count;
        }
        let next = worth(fleet, &shares);
        let is_better = next.0 < now.0 || next.0 <= now.0 && next.1 <= now.1;
        if is_better || next.0 < now.0 * (1.0 + patience * random.f64()) {
            now = next;
            best_ms = best_ms.min(now.0);
        } else {
            shares = before;
        }
    }
    best_ms
}
