//! The ranges of addresses that an entry of DWARF covers.

use gimli::{AttributeValue, DW_AT_high_pc, DW_AT_low_pc, DW_AT_ranges, DwAt, Range, RangeListsOffset, UnitRef};

use super::Bytes;
use super::allowance::{Meter, Trouble};

/// The attributes of an entry that say which addresses it covers.
#[derive(Default)]
pub(super) struct RangeAttributes {
    low: Option<u64>,
    high: Option<u64>,
    size: Option<u64>,
    list: Option<RangeListsOffset>,
}

impl RangeAttributes {
    /// Takes an attribute, if it is one of them.
    pub(super) fn take<'a>(
        &mut self,
        unit: UnitRef<'_, Bytes<'a>>,
        name: DwAt,
        value: AttributeValue<Bytes<'a>>,
    ) -> Result<(), gimli::Error> {
        match (name, value) {
            (DW_AT_low_pc, value) => self.low = unit.attr_address(value)?,
            (DW_AT_high_pc, AttributeValue::Udata(size)) => self.size = Some(size),
            (DW_AT_high_pc, value) => self.high = unit.attr_address(value)?,
            (DW_AT_ranges, value) => self.list = unit.attr_ranges_offset(value)?,
            _ => {}
        }
        Ok(())
    }

    /// Hands over each range that has code in this file. Linkers leave functions that they have removed at address 0,
    /// where no file has code.
    pub(super) fn each<'a>(
        &self,
        unit: UnitRef<'_, Bytes<'a>>,
        meter: &mut Meter<'_>,
        mut hand_over: impl FnMut(Range),
    ) -> Result<(), Trouble> {
        let mut check = |range: Range| {
            if range.begin > 0 && range.begin < range.end {
                hand_over(range);
            }
        };
        if let Some(list) = self.list {
            let mut ranges = unit.ranges(list)?;
            // Many entries of a list are no ranges.
            while let Some(entry) = ranges.next_raw()? {
                meter.work(1)?;
                ranges.convert_raw(entry)?.into_iter().for_each(&mut check);
            }
        } else if let Some(begin) = self.low {
            let end = self.size.map_or(self.high, |size| begin.checked_add(size));
            end.into_iter().for_each(|end| check(Range { begin, end }));
        }
        Ok(())
    }
}

/// The place in ascending `addresses` of those within a range.
pub(super) fn within(addresses: &[u64], range: Range) -> std::ops::Range<usize> {
    let first = addresses.partition_point(|&address| address < range.begin);
    let count = addresses[first..].partition_point(|&address| address < range.end);
    first..first + count
}
