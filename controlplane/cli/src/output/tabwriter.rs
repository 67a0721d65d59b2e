//! Aligns text that is separated by tabs: a column is a block of adjacent lines that have a cell there.
//!
//! The rules are those of Go's text/tabwriter, which kubectl prints with.

/// How wide columns are.
#[derive(Debug, Clone, Copy)]
pub struct Widths {
    pub min: usize,
    pub padding: usize,
}

/// As `kubectl get` prints.
pub const GET: Widths = Widths { min: 6, padding: 3 };
/// As `kubectl describe` prints.
pub const DESCRIBE: Widths = Widths { min: 0, padding: 2 };

/// Replaces tabs by as many spaces as the columns need.
#[must_use]
pub fn align(text: &str, widths: Widths) -> String {
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    let mut writer =
        Writer { lines: &lines, rules: widths, columns: Vec::new(), out: String::new() };
    writer.format(0, lines.len());
    writer.out
}

struct Writer<'a> {
    lines: &'a [Vec<&'a str>],
    rules: Widths,
    columns: Vec<usize>,
    out: String,
}

impl Writer<'_> {
    /// Formats lines whose columns so far are known.
    fn format(&mut self, first: usize, last: usize) {
        let column = self.columns.len();
        let mut start = first;
        let mut line = first;
        while line < last {
            if column + 1 >= self.lines[line].len() {
                line += 1;
                continue;
            }
            self.write(start, line);
            start = line;
            let mut width = self.rules.min;
            while line < last && column + 1 < self.lines[line].len() {
                let cell = self.lines[line][column].chars().count();
                width = width.max(cell + self.rules.padding);
                line += 1;
            }
            self.columns.push(width);
            self.format(start, line);
            self.columns.pop();
            start = line;
        }
        self.write(start, last);
    }

    fn write(&mut self, first: usize, last: usize) {
        for line in &self.lines[first..last] {
            for (index, cell) in line.iter().enumerate() {
                self.out.push_str(cell);
                let ended_by_tab = index + 1 < line.len();
                if let Some(width) = self.columns.get(index).filter(|_| ended_by_tab) {
                    let used = cell.chars().count();
                    self.out.extend(std::iter::repeat_n(' ', width.saturating_sub(used)));
                }
            }
            self.out.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_longest_cell() {
        let text = "NAME\tREADY\tAGE\nnginx\t1/1\t5s\nx\t0/1\t12d\n";
        let aligned = "NAME    READY   AGE\nnginx   1/1     5s\nx       0/1     12d\n";
        assert_eq!(align(text, GET), aligned);
    }

    #[test]
    fn a_line_without_tabs_ends_a_column() {
        let text = "Name:\ta\nContainers:\n  x:\n    Image:\ti\n    Port:\t80\nLong name:\tb\n";
        let aligned = "Name:  a\nContainers:\n  x:\n    Image:  i\n    Port:   80\nLong name:  b\n";
        assert_eq!(align(text, DESCRIBE), aligned);
    }

    #[test]
    fn a_column_goes_on_only_in_adjacent_lines() {
        let text = "a\tbbbb\tc\nd\te\nf\tg\th\n";
        assert_eq!(align(text, Widths { min: 0, padding: 1 }), "a bbbb c\nd e\nf g h\n");
    }
}
