wc -l | tr -d " "
V=${#TEXT}; echo "$TEXT"
