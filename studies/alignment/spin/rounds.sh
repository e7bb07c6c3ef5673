# Three rounds of self-play, from the grid's SFT on.    sh rounds.sh <seed>
set -e
start=../../../models/pairs_400_1M_sft/$1
for round in 1 2 3; do
  mkdir -p "$1/$round"
  sed "s#SEED#$1#; s#START#$start#" round.yaml > "$1/$round/params.yaml"
  (
    cd "$1/$round"
    winnow generate
    winnow ingest
    winnow curate
    winnow score
    winnow select
    winnow train all --skip-existing
    winnow evaluate all --skip-existing
  )
  start=../$round/models/own_100pct_1M/$1
done
