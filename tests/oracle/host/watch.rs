//! The life of one process, watched from outside: its output is looked at, its server dies and comes back, and it is
//! told to stop or lain in wait for.

use std::io;
use std::time::Duration;

use super::{Host, PATIENCE};
use crate::oracle::life::{AWAITED, Death, Life};
use crate::oracle::moment::{Ambush, Moment};
use crate::oracle::outage::Outage;
use crate::oracle::process::{End, Process};

/// Between two looks for what a kill waits for.
const GLANCE: Duration = Duration::from_micros(300);
/// The output that is files in any case.
const FILES: &str = "ruled";

/// What comes in the life of a process.
#[derive(Clone, Copy)]
enum Event {
    Look,
    Outage(Outage),
}

impl Host<'_> {
    /// Lets a process live its life, and looks at what is visible meanwhile.
    pub(super) fn watch(
        &mut self,
        process: &mut Process,
        life: Life,
        outage: Option<Outage>,
    ) -> Result<io::Result<Option<End>>, String> {
        let begun = match life.begins_first {
            true => process.begin(PATIENCE),
            false => Ok(None),
        };
        let Ok(None) = begun else {
            return Ok(begun);
        };
        if life.begins_first && !process.running {
            return Err("the job does not begin".to_owned());
        }
        let begun = if life.begins_first {
            process.age()
        } else {
            Duration::ZERO
        };
        let mut on_the_way = vec![(life.looked_at, Event::Look), (life.lasts, Event::Look)];
        on_the_way.extend(outage.map(|outage| (outage.at, Event::Outage(outage))));
        on_the_way.sort_by_key(|(age, _)| *age);
        for (age, event) in on_the_way {
            let lived = process.live(begun + age);
            let Ok(None) = lived else {
                return Ok(lived);
            };
            match event {
                Event::Look => self.visible.glance(&self.outputs)?,
                Event::Outage(outage) => self.suffer(outage)?,
            }
        }
        let mut stop = |patience| {
            process.stop()?;
            process.heed(process.age() + patience)
        };
        Ok(match life.death {
            Death::Kill => Ok(None),
            Death::CrashAt(point, _) if point.is_of_the_end() => stop(AWAITED),
            // Points of recovery are behind it, if it has not come there; others come with each checkpoint.
            Death::CrashAt(..) => process.live(process.age() + AWAITED),
            Death::KillAt(moment) => self.lie_in_wait(process, self.awaited(moment)),
            Death::Stop => stop(PATIENCE),
            Death::KillInStop(after) => {
                let end = stop(after);
                self.report.kills_in_stop += u64::from(matches!(end, Ok(None)));
                end
            }
        })
    }

    /// The server is killed, and comes back if it is to.
    fn suffer(&mut self, outage: Outage) -> Result<(), String> {
        let Some(database) = &mut self.outputs.database else {
            return Ok(());
        };
        database.kill()?;
        self.report.outages += 1;
        match outage.is_short {
            true => database.come_back(),
            false => Ok(()),
        }
    }

    /// What can be seen of a moment: where an output is rows, its commit cannot, and is that of one beside it.
    fn awaited(&self, moment: Moment) -> Moment {
        match moment {
            Moment::Committing(_) if self.outputs.database.is_some() => Moment::Committing(FILES),
            moment => moment,
        }
    }

    /// Waits until something happens, or for too long.
    fn lie_in_wait(&mut self, process: &mut Process, moment: Moment) -> io::Result<Option<End>> {
        let ambush = Ambush::lay(moment, &self.outputs.directory, &self.origin.state);
        let until = process.age() + AWAITED;
        while process.age() < until {
            if ambush.sprung() {
                self.report.ambushes += 1;
                break;
            }
            match process.live(process.age() + GLANCE)? {
                None => {}
                end => return Ok(end),
            }
        }
        Ok(None)
    }
}
