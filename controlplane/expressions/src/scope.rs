//! The names that macros bind around a part of an expression, the innermost last.

/// What walks an expression and keeps a `T` for every name in scope.
pub(crate) trait Scoped<T> {
    fn scope(&mut self) -> &mut Vec<T>;

    /// Does something with more names in scope.
    fn within<R>(
        &mut self,
        names: impl IntoIterator<Item = T>,
        then: impl FnOnce(&mut Self) -> R,
    ) -> R {
        let height = self.scope().len();
        self.scope().extend(names);
        let result = then(self);
        self.scope().truncate(height);
        result
    }
}
