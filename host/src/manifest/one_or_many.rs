//! One value where a list may stand.

use schemars::JsonSchema;
use serde::Deserialize;
use std::ops::Deref;

/// One value or a list of at least one; read as a slice.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(from = "Form<T>")]
#[schemars(inline)]
pub struct OneOrMany<T>(Vec<T>);

/// One value, or a list of them.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum Form<T> {
    One(T),
    Many(#[schemars(length(min = 1))] Vec<T>),
}

impl<T> From<Form<T>> for OneOrMany<T> {
    fn from(form: Form<T>) -> Self {
        match form {
            Form::One(value) => Self(vec![value]),
            Form::Many(values) => Self(values),
        }
    }
}

impl<T> From<Vec<T>> for OneOrMany<T> {
    fn from(values: Vec<T>) -> Self {
        Self(values)
    }
}

impl<T> Deref for OneOrMany<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<'a, T> IntoIterator for &'a OneOrMany<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}
