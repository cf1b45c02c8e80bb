//! The analyzer's own command line. (Its presence also makes cargo build the binary for the whole-product tests.)
