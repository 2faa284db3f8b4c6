//! placeholder
use super::*;
use crate::coordinator::timers::Timer;
impl ClassicGroup {
    pub fn loaded(&mut self, _desk: &mut Desk) {}
    pub fn timer_due(&mut self, _desk: &mut Desk, _timer: &Timer) {}
}
