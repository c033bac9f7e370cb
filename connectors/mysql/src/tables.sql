SELECT t.TABLE_SCHEMA AS `schema`, t.TABLE_NAME AS `name`,
  CASE t.TABLE_TYPE WHEN 'BASE TABLE' THEN 'table' ELSE LOWER(t.TABLE_TYPE) END AS `kind`,
  NULLIF(t.TABLE_COMMENT, '') AS `comment`,
  (SELECT JSON_EXTRACT(CONCAT('[', GROUP_CONCAT(JSON_OBJECT('name', c.COLUMN_NAME, 'type', CONVERT(c.COLUMN_TYPE USING utf8mb4),
      'nullable', JSON_EXTRACT(IF(c.IS_NULLABLE = 'YES', 'true', 'false'), '$'),
      'key', NULLIF(c.COLUMN_KEY, '')) ORDER BY c.ORDINAL_POSITION SEPARATOR ','), ']'), '$')
    FROM information_schema.COLUMNS c
    WHERE c.TABLE_SCHEMA = t.TABLE_SCHEMA AND c.TABLE_NAME = t.TABLE_NAME) AS `columns`
FROM information_schema.TABLES t
WHERE CASE WHEN ? IS NULL
    THEN t.TABLE_SCHEMA NOT IN ('information_schema', 'mysql', 'performance_schema', 'sys') ELSE t.TABLE_SCHEMA = ? END
ORDER BY 1, 2
