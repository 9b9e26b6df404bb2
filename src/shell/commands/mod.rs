//! The commands of the default shell, grouped by what they look at.

mod load;
mod machine;
mod power;
mod tasks;
mod text;
