//! Long work ends early where somebody asks for it.

use poh_holdmetrics::{
    HoldError, HoldEvent, Holds, Lots, OnNegative, Query, Standard, Stop, Transfer, Transfers,
    U256, Weight, holders_over_time, longest_holds, score_until,
};

#[test]
fn questions_end_when_they_are_asked_to() -> Result<(), HoldError> {
    let mut holds = Holds::new(9)?;
    holds.push(&HoldEvent::new("t", "a", 0, Some(10), Weight::ONE)?)?;
    let mut logs = Transfers::new(Standard::Erc20);
    logs.push(&Transfer {
        token_address: "t",
        from_address: "0x0000000000000000000000000000000000000000",
        to_address: "a",
        value: U256::from(1u64),
        token_id: None,
        at: 0,
        block_number: 1,
        log_index: 0,
    })?;
    let stop = Stop::default();
    let ask = |stop: &Stop| {
        [
            score_until(&holds, &Query::at(20), stop).err(),
            longest_holds(&holds, 20, stop).err(),
            holders_over_time(&holds, 20, stop).err(),
            logs.to_holds(Lots::Fifo, OnNegative::Refuse, 0, stop).err(),
        ]
    };
    assert_eq!(ask(&stop), [const { None }; 4]);
    stop.ask();
    assert_eq!(ask(&stop), [const { Some(HoldError::Interrupted) }; 4]);
    Ok(())
}
