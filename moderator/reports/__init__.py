"""Reports as one HTML file each: tables, charts and pictures, readable by everyone, without a request or a script."""
