#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "reactor/base/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace basalt::metadata {

class SqliteFile;

/// A prepared statement. Parameters and columns are counted from 0. Owner: whoever prepared it; it
/// ends before its file. Core: the file's.
class SqliteStatement {
  public:
    SqliteStatement(SqliteFile& file, const char* sql);
    SqliteStatement(const SqliteStatement&) = delete;
    SqliteStatement& operator=(const SqliteStatement&) = delete;
    ~SqliteStatement();

    /// The bytes live until run() or step() has ended the statement.
    SqliteStatement& bind(int index, std::string_view bytes);
    SqliteStatement& bind(int index, uint64_t number);

    /// The next row: true; after the last one false, and the statement may be used again.
    /// Errors: the file's.
    [[nodiscard]] Result<bool> step();
    /// All of a statement without rows.
    [[nodiscard]] Status run();

    // Of the row that step() told. Bytes live until the next step().
    [[nodiscard]] std::string_view bytes(int column) const;
    [[nodiscard]] uint64_t number(int column) const;

  private:
    SqliteFile& file_;
    sqlite3_stmt* statement_ = nullptr;
};

/// A file of SQLite that this process has for itself: a write-ahead log, each transaction durable
/// when it is committed (SQLite documentation, "Write-Ahead Logging" and PRAGMA synchronous=FULL).
/// Calls block, for a flush of the drive at most.
///
/// Errors of all: kBusy: another process has it; kNoSpace; kDataCorrupt: not a database, or a
/// damaged one; kNotFound: no such folder; kPermissionDenied; kReadOnly; kIo.
///
/// Owner: whoever opened it. Core: one.
class SqliteFile {
  public:
    /// Makes the file if it is missing.
    [[nodiscard]] static Result<std::unique_ptr<SqliteFile>> open(const std::string& path);
    SqliteFile(const SqliteFile&) = delete;
    SqliteFile& operator=(const SqliteFile&) = delete;
    ~SqliteFile();

    /// Statements without results.
    [[nodiscard]] Status run(const char* sql);

  private:
    friend class SqliteStatement;

    SqliteFile() = default;

    [[nodiscard]] Error error() const;

    sqlite3* database_ = nullptr;
};

}  // namespace basalt::metadata
