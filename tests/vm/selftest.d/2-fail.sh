# It fails without a word: a command did.
. /t/lib.sh
echo "before"
false
echo "never printed"
